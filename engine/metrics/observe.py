"""Shows a running job until it is cancelled: a live table, log lines, or JSON lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TextIO

from ..clock import Clock
from ..logs import OnEvent, json_events, log
from .measures import JobMeasures
from .rates import rates


class Observed(Protocol):
    """What is needed of a job to show it."""

    @property
    def measures(self) -> JobMeasures: ...
    def why_waiting(self) -> list[str]: ...


async def observe(job: Observed, *, json: bool, live: bool, interval_s: float, stream: TextIO, clock: Clock) -> None:
    """Show the job every `interval_s` seconds until cancelled, and once more then.

    Args:
        job: what is shown.
        json: write one JSON object per interval to `stream`, `{"event": "progress", …}`. Wins over `live`.
        live: draw a table on the terminal `stream`. Without both, one line is logged per interval.
        interval_s: seconds between two looks.
        stream: where table and JSON lines go.
        clock: the job's clock.
    """
    if live and not json:
        await _observe_live(job, interval_s, stream, clock)
        return
    write = json_events(stream, clock) if json else None
    pace = _Pace(job, clock)
    try:
        while True:
            await clock.sleep(interval_s)
            _report(pace, write)
    finally:
        _report(pace, write)


class _Pace:
    """The last look at a job, to compare the next one with."""

    def __init__(self, job: Observed, clock: Clock) -> None:
        self._job = job
        self._clock = clock
        self._previous: dict[str, Any] | None = None
        self._at = clock.monotonic()

    def look(self) -> tuple[dict[str, Any], dict[str, Any] | None, float, Sequence[str]]:
        """The snapshot now, the one before, the seconds between, and why the job waits."""
        now = self._clock.monotonic()
        current = self._job.measures.snapshot(self._clock.now_ms())
        previous, seconds = self._previous, now - self._at
        self._previous, self._at = current, now
        return current, previous, seconds, self._job.why_waiting()


async def _observe_live(job: Observed, interval_s: float, stream: TextIO, clock: Clock) -> None:
    from rich.console import Console
    from rich.live import Live

    from .live import render

    pace = _Pace(job, clock)
    # Without auto-refresh Live starts no thread of its own.
    with Live(console=Console(file=stream), auto_refresh=False) as table:
        try:
            while True:
                table.update(render(*pace.look()), refresh=True)
                await clock.sleep(interval_s)
        finally:
            table.update(render(*pace.look()), refresh=True)


def _report(pace: _Pace, write: OnEvent | None) -> None:
    fields = progress(*pace.look())
    if write is None:
        log("progress", fields)
    else:
        write("progress", fields)


def progress(
    current: Mapping[str, Any],
    previous: Mapping[str, Any] | None,
    seconds: float,
    why_waiting: Sequence[str],
) -> dict[str, Any]:
    """The facts of one interval in a flat form, for a log line."""
    now = rates(current, previous, seconds)
    lags = [o.watermark_lag_ms for o in now.operators if o.watermark_lag_ms is not None]
    checkpoints = current["checkpoints"]
    fields: dict[str, Any] = {
        "job": current["job"],
        "attempt": current["attempt"],
        "records_per_s": round(now.records_per_s, 1),
        "records_in": sum(o["records_in"] for o in current["operators"] if o["kind"] == "source"),
        "records_out": sum(o["records_out"] for o in current["operators"] if o["kind"] == "sink"),
        "busiest": max(now.operators, key=lambda o: o.busy).operator_id if now.operators else None,
        "busy": round(max((o.busy for o in now.operators), default=0.0), 3),
        "watermark_lag_ms": max(lags, default=None),
        "record_lag": now.record_lag,
        "byte_lag": now.byte_lag,
        "latency_p50_ms": _ms(now.latency_p50_s),
        "latency_p99_ms": _ms(now.latency_p99_s),
        "late": sum(o.late for o in now.operators),
        "errors": sum(o.errors for o in now.operators),
        "checkpoint_id": checkpoints["last_id"],
        "checkpoint_age_ms": checkpoints["age_ms"],
        "checkpoints_failed": checkpoints["failed"],
        "state_bytes": current["state_bytes"],
        "restarts": current["restarts"],
    }
    if why_waiting:
        fields["why_waiting"] = "; ".join(why_waiting)
    return {name: value for name, value in fields.items() if value is not None}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
