"""What was measured, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .harness import Outcome
from .report import machine
from .scenario import Figures, load

_UNITS: Final = {"_per_s": "/s", "_mb": " MB", "_ms": " ms", "_s": " s"}
_SHOWN: Final = (
    "events_per_s",
    "times_published",
    "cpu_s_per_million",
    "broker_cpu_s_per_million",
    "peak_rss_mb",
    "ratio",
    "cpu_ratio",
    "start_up_s",
    "start_up_cpu_s",
    "share_of_once",
    "state_mb",
    "files_s",
    "files_mb_per_s",
    "raw_mb_per_s",
    "share_of_raw",
    "kept_mb_per_s",
    "share_of_kept",
    "median_s",
    "checkpoint_s",
    "from_start_s",
    "from_process_s",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "worst_ms",
    "step_cpu_p99_ms",
    "step_cpu_worst_ms",
    "sync_p99_ms",
    "sync_worst_ms",
    "gap_p99_ms",
    "gap_worst_ms",
    "gap_without_worst_ms",
    "since_due_p99_ms",
    "uploaded_share",
    "uploaded_share_most",
    "keys_per_s",
    "first_result_s",
    "checkpoints",
    "checkpoint_ms",
)
_NAMES: Final = {
    "cpu_s_per_million": "CPU s per million",
    "broker_cpu_s_per_million": "broker's CPU s per million",
    "ratio": "first against it",
    "cpu_ratio": "by CPU time",
}
_FEW_SIDES: Final = 3


def print_tables(outcomes: Sequence[Outcome]) -> None:
    """Show a run to a person: all scenarios, and a table of its own for each that has many sides."""
    console = Console(width=None if Console().is_terminal else 160)
    console.print(_summary(outcomes))
    for outcome in outcomes:
        if _has_many_sides(outcome):
            console.print(_sides(outcome))
    facts = machine()
    console.print(
        f"Python {facts['python']}, {facts['cpu']}, {facts['cores']} cores; medians; see benchmarks/README.md"
    )


def _summary(outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("scenario", "measured", "wanted", ""):
        table.add_column(title, overflow="fold")
    for outcome in outcomes:
        scenario = load(outcome.name)
        wanted = [(w.text, w.met(outcome.figures)) for w in scenario.wanted]
        table.add_row(
            f"[bold]{outcome.name}[/]\n{scenario.title}",
            "\n".join(_measured_lines(outcome)),
            "\n".join(text for text, _ in wanted),
            "\n".join("[green]met[/]" if met else "[red]not met[/]" for _, met in wanted),
        )
        table.add_section()
    return table


def _measured_lines(outcome: Outcome) -> Iterator[str]:
    """The figures of a scenario that matter: a line per side, where these are few, and what comes of comparing them."""
    scenario, figures = load(outcome.name), outcome.figures
    if _has_many_sides(outcome):
        yield f"{len(scenario.sides)} sides, see below"
    else:
        for side in scenario.sides:
            yield f"{side}: {', '.join([_told(name, value) for name, value in _shown(figures, side)])}"
    if scenario.references:
        for name, how in (("ratio", "ratio"), ("cpu_ratio", "by CPU time")):
            yield f"{how} {figures[name]:.2f} ({figures[f'{name}_lowest']:.2f} to {figures[f'{name}_highest']:.2f})"


def _sides(outcome: Outcome) -> Table:
    """A line per side, a column per figure."""
    by_side = {side: dict(_shown(outcome.figures, side)) for side in load(outcome.name).sides}
    names = [name for name in _SHOWN if any(name in figures for figures in by_side.values())]
    table = Table(title=outcome.name, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(_heading(name), justify="right")
    for side, figures in by_side.items():
        table.add_row(side, *[_cell(name, figures[name]) if name in figures else "" for name in names])
    return table


def _has_many_sides(outcome: Outcome) -> bool:
    return len(load(outcome.name).sides) > _FEW_SIDES


def _shown(figures: Figures, side: str) -> Iterator[tuple[str, float]]:
    for name in _SHOWN:
        value = figures.get(f"{side}.{name}")
        if value is not None:
            yield name, value


def _unit(name: str) -> str:
    return next((unit for unit in _UNITS if name.endswith(unit)), "")


def _heading(name: str) -> str:
    unit = _unit(name)
    return _NAMES.get(name) or name.removesuffix(unit).replace("_", " ") + _UNITS.get(unit, "")


def _told(name: str, value: float) -> str:
    unit, cell = _unit(name), _cell(name, value)
    if name in _NAMES:
        return f"{cell} {_NAMES[name]}"
    words = name.removesuffix(unit).replace("_", " ")
    return f"{cell} {words}/s" if unit == "_per_s" else f"{words} {cell}{_UNITS.get(unit, '')}"


def _cell(name: str, value: float) -> str:
    if _unit(name) in ("_per_s", "_mb") or name == "checkpoints":
        return f"{value:,.0f}"
    return f"{value:,.1f}" if _unit(name) == "_ms" else f"{value:,.2f}"
