"""What was measured, as a table and as a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from .harness import Outcome
from .scenario import Figures, load

RESULTS: Final = Path(__file__).resolve().parent / "results"

_LIBRARIES: Final = (
    "tidegate",
    "msgspec",
    "rocksdict",
    "obstore",
    "uvloop",
    "numpy",
    "duckdb",
    "aiokafka",
    "confluent-kafka",
)
_UNITS: Final = {"_mb": " MB", "_ms": " ms", "_s": " s"}
_SHOWN: Final = (
    "events_per_s",
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
    "sync_worst_ms",
    "gap_worst_ms",
    "gap_without_worst_ms",
    "since_due_p99_ms",
    "keys_per_s",
    "first_result_s",
    "checkpoints",
    "checkpoint_ms",
    "cpu_s_per_million",
    "peak_rss_mb",
)


_SHOWN_BESIDES: Final = (
    "start_up_s",
    "start_up_cpu_s",
    "uploaded_share",
    "uploaded_share_most",
    "sync_p99_ms",
    "gap_p99_ms",
    "gap_worst_ms",
)
"""The same where sides are compared, which tells the rest already."""


def machine() -> dict[str, Any]:
    """What the figures depend on: versions and the kind of machine. No names and no paths."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed"
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "libraries": versions,
    }


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All that is known of a run."""
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "scenarios": [outcome.as_json() for outcome in outcomes],
    }


def save(found: dict[str, Any], path: Path | None) -> Path:
    """Write a run to `path` or, when None, to a file of its own among the results; where."""
    if path is None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{found['date']}.json"
        number = 2
        while path.exists():
            path = RESULTS / f"{found['date']}-{number}.json"
            number += 1
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Show a run to a person."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("scenario", "measured", "wanted", ""):
        table.add_column(title, overflow="fold")
    for outcome in outcomes:
        scenario = load(outcome.name)
        wanted = [(w.text, w.met(outcome.figures)) for w in scenario.wanted]
        table.add_row(
            f"[bold]{outcome.name}[/]\n{scenario.title}",
            "\n".join(measured_lines(outcome)),
            "\n".join(text for text, _ in wanted),
            "\n".join("[green]met[/]" if met else "[red]not met[/]" for _, met in wanted),
        )
        table.add_section()
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    facts = machine()
    console.print(
        f"Python {facts['python']}, {facts['cpu']}, {facts['cores']} cores; medians; see benchmarks/README.md"
    )


def measured_lines(outcome: Outcome) -> Iterator[str]:
    """The figures of a scenario that matter, a line per side."""
    scenario, figures = load(outcome.name), outcome.figures
    for side in scenario.sides:
        if scenario.references:
            broker = figures.get(f"{side}.broker_cpu_s_per_million")
            yield (
                f"{side}: {figures[f'{side}.events_per_s']:,.0f}/s, "
                f"{figures[f'{side}.cpu_s_per_million']:.2f} CPU s per million, "
                + (f"{broker:.2f} of the broker's, " if broker is not None else "")
                + f"{figures[f'{side}.peak_rss_mb']:.0f} MB"
                + "".join([f", {told}" for told in _told(figures, side, _SHOWN_BESIDES)])
                + _against(figures, side)
            )
        else:
            yield f"{side}: {', '.join(_told(figures, side, _SHOWN))}"
    if scenario.references:
        for name, how in (("ratio", "ratio"), ("cpu_ratio", "by CPU time")):
            yield f"{how} {figures[name]:.2f} ({figures[f'{name}_lowest']:.2f} to {figures[f'{name}_highest']:.2f})"


def _against(figures: Figures, side: str) -> str:
    """How much faster than this side the first one is, where that is known of each."""
    if f"{side}.ratio" not in figures:
        return ""
    return f"; {figures[f'{side}.ratio']:.2f} times as fast, {figures[f'{side}.cpu_ratio']:.2f} by CPU time"


def _told(figures: Figures, side: str, names: Sequence[str]) -> Iterator[str]:
    for name in names:
        value = figures.get(f"{side}.{name}")
        if value is None:
            continue
        if name.endswith("_per_s"):
            yield f"{value:,.0f} {name.removesuffix('_per_s').replace('_', ' ')}/s"
            continue
        unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
        digits = 0 if unit in ("", "_mb") and "share" not in name else 2
        yield f"{name.removesuffix(unit).replace('_', ' ')} {value:.{digits}f}{_UNITS.get(unit, '')}"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
