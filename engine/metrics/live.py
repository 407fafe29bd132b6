"""The live table that `run` shows on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from .rates import Rates, rates

_NONE = "–"


def render(
    current: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    seconds: float,
    why_waiting: Sequence[str] = (),
) -> Group:
    """The table for the `seconds` between two snapshots of `JobMeasures`, and the reasons why the job
    waits.
    """
    now = rates(current, previous, seconds)
    lines = [Text(f"why waiting: {reason}", style="yellow") for reason in why_waiting]
    return Group(_operators(current, now), _job(current, now), *lines)


def _operators(current: Mapping[str, Any], now: Rates) -> Table:
    table = Table(title=f"{current['job']} · attempt {current['attempt']}", title_justify="left")
    table.add_column("operator", overflow="fold")
    for column in ("in/s", "out/s", "busy", "backpr.", "watermark lag", "late", "errors"):
        table.add_column(column, justify="right", no_wrap=True)
    for operator in now.operators:
        table.add_row(
            Text(operator.operator_id),
            count(operator.in_per_s),
            count(operator.out_per_s),
            f"{operator.busy:.0%}",
            f"{operator.backpressured:.0%}",
            _NONE if operator.watermark_lag_ms is None else duration(operator.watermark_lag_ms / 1000),
            count(operator.late),
            Text(count(operator.errors), style="red" if operator.errors else ""),
        )
    return table


def _job(current: Mapping[str, Any], now: Rates) -> Table:
    checkpoints = current["checkpoints"]
    grid = Table.grid(padding=(0, 2))
    if checkpoints["last_id"] is None:
        last = "none yet"
    else:
        last = (
            f"#{checkpoints['last_id']} in {duration(checkpoints['last_duration_ms'] / 1000)}, "
            f"{size(checkpoints['last_size_bytes'])}, {duration(checkpoints['age_ms'] / 1000)} ago"
        )
    failed = f", {checkpoints['failed']} failed: {checkpoints['last_failure']}" if checkpoints["failed"] else ""
    grid.add_row("checkpoint", Text(f"{last}{failed}"))
    grid.add_row("latency", f"p50 {_optional(now.latency_p50_s)}, p99 {_optional(now.latency_p99_s)}")
    lags = []
    if now.record_lag is not None:
        lags.append(f"{count(now.record_lag)} records")
    if now.byte_lag is not None:
        lags.append(size(now.byte_lag))
    if lags:
        grid.add_row("lag", ", ".join(lags))
    grid.add_row("state", size(current["state_bytes"]))
    if current["restarts"]:
        recovery = duration(current["recovery_ms"][-1] / 1000) if current["recovery_ms"] else _NONE
        grid.add_row("restarts", f"{current['restarts']}, last recovery {recovery}")
    return grid


def _optional(seconds: float | None) -> str:
    return _NONE if seconds is None else duration(seconds)


def count(number: float) -> str:
    """A number for people, three digits and a unit.

    >>> count(7), count(1234), count(5_600_000)
    ('7', '1.23k', '5.60M')
    """
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g}{unit}" if number >= 100 * factor else f"{number / factor:#.3g}{unit}"
    return f"{number:.0f}" if number == int(number) or number >= 100 else f"{number:.1f}"


def size(n_bytes: int) -> str:
    """A size for people.

    >>> size(512), size(5_000_000)
    ('512 B', '5.0 MB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes} B"


def duration(seconds: float) -> str:
    """A duration for people, its two largest units at most.

    >>> duration(0.0042), duration(75), duration(90_000)
    ('4.2ms', '1m15s', '1d1h')
    """
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1000:.1f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    for unit, factor, lower, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= factor:
            return f"{int(seconds // factor)}{unit}{int(seconds % factor // part)}{lower}"
    return f"{seconds:.1f}s"
