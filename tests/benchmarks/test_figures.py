"""The arithmetic between what was measured and what is said."""

from __future__ import annotations

import pytest

from benchmarks.figures import paired_ratios, spread, summarize
from benchmarks.scenario import Figures, Scenario, Setup, Wanted


def nothing(_: Setup) -> Figures:
    """A side that is not run."""
    return {}


def repetition(engine_s: float, loop_s: float) -> dict[str, Figures]:
    """What two sides measured, with twice the time in CPU seconds."""
    return {
        "engine": {"run_s": engine_s, "cpu_s": engine_s * 2, "only_here": 1.0},
        "loop": {"run_s": loop_s, "cpu_s": loop_s * 2},
    }


COMPARED = Scenario("compared", {"engine": nothing, "loop": nothing}, 1000, "loop")
ALONE = Scenario("alone", {"engine": nothing}, 1000)


def test_the_median_of_each_side_counts() -> None:
    """One slow repetition changes nothing."""
    figures = summarize(COMPARED, 1000, [repetition(2, 1), repetition(2, 1), repetition(90, 1)])
    assert figures["engine.run_s"] == 2
    assert figures["engine.events_per_s"] == 500
    assert figures["loop.events_per_s"] == 1000
    assert figures["engine.cpu_s_per_million"] == 4000


def test_the_ratio_is_taken_within_each_repetition() -> None:
    """A machine that is slow for a while is slow for both sides."""
    repetitions = [repetition(2, 1), repetition(20, 10), repetition(4, 1)]
    assert paired_ratios(repetitions, "engine", ["loop"], "run_s") == [0.5, 0.5, 0.25]
    figures = summarize(COMPARED, 1000, repetitions)
    assert figures["ratio"] == figures["cpu_ratio"] == 0.5
    assert (figures["ratio_lowest"], figures["cpu_ratio_highest"]) == (0.25, 0.5)


def test_the_best_of_several_references_counts() -> None:
    """In each repetition, and by each measure: the first one is to be better than any of them."""
    scenario = Scenario("", {"engine": nothing, "slow": nothing, "fast": nothing}, 1000, ("slow", "fast"))
    repetitions = [
        {
            "engine": {"run_s": 1.0, "cpu_s": 1.0},
            "slow": {"run_s": 9.0, "cpu_s": 2.0},
            "fast": {"run_s": 6.0, "cpu_s": 4.0},
        },
        {
            "engine": {"run_s": 1.0, "cpu_s": 1.0},
            "slow": {"run_s": 4.0, "cpu_s": 2.0},
            "fast": {"run_s": 7.0, "cpu_s": 4.0},
        },
    ]
    figures = summarize(scenario, 1000, repetitions)
    assert (figures["ratio"], figures["ratio_lowest"], figures["ratio_highest"]) == (5.0, 4.0, 6.0)
    assert figures["cpu_ratio"] == 2.0
    assert (figures["slow.ratio"], figures["fast.ratio"], figures["fast.cpu_ratio"]) == (6.5, 6.5, 4.0)


def test_sides_that_took_another_number_of_records_are_compared_by_record() -> None:
    """A tenth of the records in a tenth of the time is the same speed."""
    repetitions = [
        {
            "engine": {"run_s": 10.0, "cpu_s": 5.0, "events": 1000, "broker_cpu_s": 2.0},
            "loop": {"run_s": 1.0, "cpu_s": 1.0, "events": 100, "broker_cpu_s": 0.1},
        }
    ]
    figures = summarize(COMPARED, 1000, repetitions)
    assert figures["ratio"] == 1.0
    assert figures["cpu_ratio"] == 2.0
    assert (figures["engine.events_per_s"], figures["loop.events_per_s"]) == (100.0, 100.0)
    assert (figures["engine.cpu_s_per_million"], figures["loop.cpu_s_per_million"]) == (5_000.0, 10_000.0)
    assert (figures["engine.broker_cpu_s_per_million"], figures["loop.broker_cpu_s_per_million"]) == (2_000.0, 1_000.0)


def test_a_scenario_without_reference_has_no_ratio() -> None:
    """It has its own figures, by side."""
    figures = summarize(ALONE, 1000, [{"engine": {"p99_ms": 3.0}}, {"engine": {"p99_ms": 5.0}}])
    assert figures == {"engine.p99_ms": 4.0}


def test_a_figure_that_was_not_always_measured_is_left_out() -> None:
    """A median of some of the repetitions would not be comparable."""
    assert summarize(ALONE, 1, [{"engine": {"a": 1.0, "b": 1.0}}, {"engine": {"a": 1.0}}]) == {"engine.a": 1.0}


def test_the_spread_is_a_share_of_the_median() -> None:
    """A single repetition has none."""
    assert spread([repetition(1, 1), repetition(2, 1), repetition(4, 1)], "engine", "run_s") == 1.5
    assert spread([repetition(3, 1)], "engine", "run_s") == 0.0


@pytest.mark.parametrize(
    ("sense", "value", "met"),
    [
        ("at_least", 0.7, True),
        ("at_least", 0.69, False),
        ("at_most", 0.7, True),
        ("at_most", 0.71, False),
    ],
)
def test_what_is_wanted_is_met_up_to_its_limit(sense: str, value: float, met: bool) -> None:
    """The limit itself is good enough."""
    wanted = Wanted("ratio", "at_least" if sense == "at_least" else "at_most", 0.7, "a share of 0.7")
    assert wanted.met({"ratio": value}) is met
