"""bytewax."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .file_job import FileJob

LABEL: Final = "bytewax"
WITH_RECOVERY: Final = "bytewax-recovery"
"""The side of `window_with_recovery`."""
PACKAGES: Final = ("bytewax==0.21.1", "orjson==3.13.0")
MOST_BIDS: Final = 200_000
"""A few seconds' worth of them; rates are compared."""

_ALIGN_TO: Final = datetime(2023, 1, 1, tzinfo=UTC)
_SIZE_MS: Final = 10_000
_FROZEN: Final = datetime(2023, 11, 1, tzinfo=UTC)

Keyed = tuple[str, tuple[int, int]]
"""A key, and of the bid the time in milliseconds and what is added up."""


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds, without recovery: it is the faster way."""
    _run(job, _by_auction, _with_auction)


def window_with_recovery(job: FileJob) -> None:
    """The same with a snapshot of what has changed every second."""
    from bytewax.recovery import RecoveryConfig, init_db_dir

    init_db_dir(job.work, 1)
    _run(
        job,
        _by_auction,
        _with_auction,
        recovery_config=RecoveryConfig(job.work),
        epoch_interval=timedelta(seconds=1),
    )


def function(job: FileJob) -> None:
    """Count and sum per auction, bucket and ten seconds; without recovery."""

    def converted(price: int) -> tuple[int, str]:
        return price * 908 // 1000, "high" if price > 10_000 else "low"

    def keyed(bid: dict[str, Any]) -> Keyed:
        price, bucket = converted(bid["price"])
        return f"{bid['auction']}:{bucket}", (bid["date_time"], price)

    def with_key(key: str) -> dict[str, Any]:
        auction, _, bucket = key.partition(":")
        return {"auction": int(auction), "bucket": bucket}

    _run(job, keyed, with_key)


def _by_auction(bid: dict[str, Any]) -> Keyed:
    return str(bid["auction"]), (bid["date_time"], bid["price"])


def _with_auction(key: str) -> dict[str, Any]:
    return {"key": int(key)}


def _run(
    job: FileJob,
    keyed: Callable[[dict[str, Any]], Keyed],
    with_key: Callable[[str], dict[str, Any]],
    **settings: Any,
) -> None:
    import bytewax.operators as op
    import orjson
    from bytewax.connectors.files import FileSink, FileSource
    from bytewax.dataflow import Dataflow
    from bytewax.operators import windowing
    from bytewax.testing import run_main

    def grown(so_far: list[int], value: tuple[int, int]) -> list[int]:
        so_far[0] += 1
        so_far[1] += value[1]
        return so_far

    def merged(one: list[int], other: list[int]) -> list[int]:
        return [one[0] + other[0], one[1] + other[1]]

    def result(found: tuple[str, tuple[int, list[int]]]) -> str:
        key, (number, (n, total)) = found
        start_ms = first_ms + number * _SIZE_MS
        return orjson.dumps(
            with_key(key) | {"start_ms": start_ms, "end_ms": start_ms + _SIZE_MS, "n": n, "total": total}
        ).decode()

    first_ms = int(_ALIGN_TO.timestamp() * 1000)
    # Its watermarks move on with the system's time as well: in a replay that is slower than event time records would be
    # late. A clock that stands still leaves event time alone.
    clock = windowing.EventClock(
        ts_getter=lambda value: datetime.fromtimestamp(value[0] / 1000, UTC),
        wait_for_system_duration=timedelta(seconds=2),
        now_getter=lambda: _FROZEN,
        to_system_utc=lambda _: None,
    )
    windower = windowing.TumblingWindower(length=timedelta(milliseconds=_SIZE_MS), align_to=_ALIGN_TO)
    flow = Dataflow("bids")
    lines = op.input("lines", flow, FileSource(str(job.source), batch_size=1000))
    bids = op.map("bids", lines, orjson.loads)
    windows = windowing.fold_window(
        "windows",
        op.map("keyed", bids, keyed),
        clock,
        windower,
        lambda: [0, 0],
        grown,
        merged,
        ordered=False,
    )
    results = op.map("results", windows.down, result)
    op.output("out", op.key_on("all", results, lambda _: "all"), FileSink(str(job.output / "all.jsonl")))
    run_main(flow, **settings)
