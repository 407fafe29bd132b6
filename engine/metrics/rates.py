"""What happened between two snapshots of a job's measures: what the live table and the log lines show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .histogram import quantile

_PLACES: Final = {"source": 0, "sink": 2}


@dataclass(frozen=True)
class OperatorRates:
    """One operator over all its subtasks.

    Attributes:
        operator_id: which operator.
        kind: the word for it in plans.
        in_per_s: records taken in per second.
        out_per_s: records given out per second.
        busy: share of the time that its subtasks were computing, 0 to 1, for all operators of the chain
            together.
        backpressured: share of the time that they waited for receivers, 0 to 1.
        watermark_lag_ms: of the subtask that is furthest behind; None without a watermark.
        late: late records since the start of the job.
        errors: records that raised since the start of the job, dead letters among them.
    """

    operator_id: str
    kind: str
    in_per_s: float
    out_per_s: float
    busy: float
    backpressured: float
    watermark_lag_ms: int | None
    late: int
    errors: int


@dataclass(frozen=True)
class Rates:
    """A job between two snapshots.

    Attributes:
        operators: sources first, sinks last, else in the order in which the job made them.
        records_per_s: records that the sources read per second.
        latency_p50_s, latency_p99_s: quantiles of the latencies of the interval; None when nothing was
        committed.
        record_lag: records not read yet; None when no reader knows.
        byte_lag: bytes not read yet; None when no reader knows.
        loop_lag_s: 99th percentile of the event loop's lag in the interval; None when it was not measured.
    """

    operators: tuple[OperatorRates, ...]
    records_per_s: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    record_lag: int | None
    byte_lag: int | None
    loop_lag_s: float | None


def rates(current: Mapping[str, Any], previous: Mapping[str, Any] | None, seconds: float) -> Rates:
    """The rates over the `seconds` from `previous` to `current`, both from `JobMeasures.snapshot`. Without
    `previous` it is taken that everything was zero then."""
    seconds = max(seconds, 1e-9)
    before = {} if previous is None else _by_operator(previous["operators"])
    shares = _shares(current, previous)
    operators = []
    for operator_id, rows in _by_operator(current["operators"]).items():
        earlier = before.get(operator_id, [])
        lags = [row["watermark_lag_ms"] for row in rows if row["watermark_lag_ms"] is not None]
        busy, backpressured = shares.get(operator_id, (0.0, 0.0))
        operators.append(
            OperatorRates(
                operator_id,
                rows[0]["kind"],
                (_sum(rows, "records_in") - _sum(earlier, "records_in")) / seconds,
                (_sum(rows, "records_out") - _sum(earlier, "records_out")) / seconds,
                busy,
                backpressured,
                max(lags, default=None),
                _sum(rows, "late"),
                _sum(rows, "errors"),
            )
        )
    operators.sort(key=lambda o: _PLACES.get(o.kind, 1))
    return Rates(
        tuple(operators),
        sum(o.in_per_s for o in operators if o.kind == "source"),
        _quantile(current, previous, "latency", 0.5),
        _quantile(current, previous, "latency", 0.99),
        _known_sum(current["splits"], "record_lag"),
        _known_sum(current["splits"], "byte_lag"),
        _quantile(current, previous, "event_loop_lag", 0.99),
    )


def _by_operator(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["operator_id"], []).append(row)
    return found


def _sum(rows: list[dict[str, Any]], name: str) -> int:
    return sum(row[name] for row in rows)


def _known_sum(rows: list[dict[str, Any]], name: str) -> int | None:
    known = [row[name] for row in rows if row[name] is not None]
    return sum(known) if known else None


def _shares(current: Mapping[str, Any], previous: Mapping[str, Any] | None) -> dict[str, tuple[float, float]]:
    """Per operator the busy and the backpressured share of its subtasks' time."""
    before = {(s["name"], s["subtask"]): s for s in (previous["subtasks"] if previous is not None else ())}
    times: dict[str, list[float]] = {}
    for subtask in current["subtasks"]:
        earlier = before.get((subtask["name"], subtask["subtask"]), {})
        spent = [subtask[part] - earlier.get(part, 0.0) for part in ("busy_s", "backpressured_s", "idle_s")]
        for operator_id in subtask["operator_ids"]:
            total = times.setdefault(operator_id, [0.0, 0.0, 0.0])
            for i, seconds in enumerate(spent):
                total[i] += seconds
    return {
        operator_id: (busy / all_s, backpressured / all_s)
        for operator_id, (busy, backpressured, idle) in times.items()
        if (all_s := busy + backpressured + idle) > 0
    }


def _quantile(current: Mapping[str, Any], previous: Mapping[str, Any] | None, name: str, q: float) -> float | None:
    histogram = current[name]
    if not histogram["count"]:
        return None
    counts = histogram["counts"]
    if previous is not None:
        counts = [now - then for now, then in zip(counts, previous[name]["counts"], strict=True)]
    return quantile(counts, q, histogram["least_s"], histogram["most_s"])
