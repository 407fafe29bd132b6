"""The arithmetic between what was measured and what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from .scenario import Figures, Scenario

Repetition = Mapping[str, Figures]
"""What each side measured in one repetition."""


def summarize(scenario: Scenario, events: int, repetitions: Sequence[Repetition]) -> Figures:
    """`side.figure` for every figure: the median over the repetitions. Besides, for sides that take records from start to
    end, `side.events_per_s` and `side.cpu_s_per_million`; and the ratios, where there is a reference: where there are
    several, also `side.ratio` and `side.cpu_ratio` against each side.

    >>> runs = [{"engine": {"run_s": 2.0, "cpu_s": 2.0}, "loop": {"run_s": 1.0, "cpu_s": 1.0}}]
    >>> summarize(Scenario("", {"engine": dict, "loop": dict}, 10, "loop"), 10, runs)["ratio"]
    0.5
    """
    figures: Figures = {}
    for side in scenario.sides:
        names = set.intersection(*[set(repetition[side]) for repetition in repetitions])
        for name in sorted(names):
            figures[f"{side}.{name}"] = median(repetition[side][name] for repetition in repetitions)
        if scenario.references:
            own = figures.get(f"{side}.events", events)
            figures[f"{side}.events_per_s"] = own / figures[f"{side}.run_s"]
            for figure in ("cpu_s", "broker_cpu_s"):
                if f"{side}.{figure}" in figures:
                    figures[f"{side}.{figure}_per_million"] = figures[f"{side}.{figure}"] * 1e6 / own
    if scenario.references:
        measured = next(iter(scenario.sides))
        for name, figure in (("ratio", "run_s"), ("cpu_ratio", "cpu_s")):
            ratios = paired_ratios(repetitions, measured, scenario.references, figure)
            figures |= {name: median(ratios), f"{name}_lowest": min(ratios), f"{name}_highest": max(ratios)}
            if len(scenario.references) > 1:
                for side in list(scenario.sides)[1:]:
                    figures[f"{side}.{name}"] = median(paired_ratios(repetitions, measured, (side,), figure))
    return figures


def paired_ratios(
    repetitions: Sequence[Repetition], measured: str, references: Sequence[str], figure: str
) -> list[float]:
    """The speed of one side as a share of the best reference's, in each repetition: they ran one after the other, and a
    slow minute of the machine was slow for all. Sides that took another number of `events` are compared by record.

    >>> paired_ratios([{"a": {"run_s": 4.0}, "b": {"run_s": 3.0}}], "a", ["b"], "run_s")
    [0.75]
    """
    return [
        min(_per_event(repetition, side, measured, figure) for side in references) / repetition[measured][figure]
        for repetition in repetitions
    ]


def _per_event(repetition: Repetition, side: str, measured: str, figure: str) -> float:
    """What a side would have measured for as many records as the measured one, if it did not take as many."""
    own, other = repetition[side], repetition[measured]
    if "events" not in own and "events" not in other:
        return own[figure]
    return own[figure] * other["events"] / own["events"]


def spread(repetitions: Sequence[Repetition], side: str, figure: str) -> float:
    """How far the repetitions lie apart: the largest less the smallest, as a share of the median; 0.0 for a single one.

    >>> spread([{"a": {"run_s": 1.0}}, {"a": {"run_s": 1.1}}, {"a": {"run_s": 1.2}}], "a", "run_s")
    0.18
    """
    values = [repetition[side][figure] for repetition in repetitions]
    return round((max(values) - min(values)) / median(values), 2)
