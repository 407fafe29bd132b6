"""Pathway over a static input, which is its fastest way: all lines are one commit, and each window is written once. Lines that
a Python connector hands over one by one cost it three times as much."""

from __future__ import annotations

from typing import Any, Final

from .file_job import FileJob

LABEL: Final = "pathway"
PACKAGES: Final = ("pathway==0.33.0",)
MOST_BIDS: Final = 500_000
"""It holds the whole input; rates are compared."""


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds."""
    import pathway as pw

    bids = _bids(job)
    windows = _windows(bids, bids.auction)
    _run(job, windows.reduce(key=pw.this._pw_instance, **_totals()))


def function(job: FileJob) -> None:
    """Count and sum per auction, bucket and ten seconds, with a Python function for each bid."""
    import pathway as pw

    @pw.udf(deterministic=True)
    def converted(price: int) -> tuple[int, str]:
        return price * 908 // 1000, "high" if price > 10_000 else "low"

    bids = _bids(job)
    made = bids.select(bids.auction, bids.date_time, made=converted(bids.price))
    sales = made.select(made.auction, made.date_time, price=made.made[0], bucket=made.made[1])
    keyed = sales.with_columns(key=pw.make_tuple(sales.auction, sales.bucket))
    windows = _windows(keyed, keyed.key)
    totals = windows.reduce(auction=pw.this._pw_instance[0], bucket=pw.this._pw_instance[1], **_totals())
    _run(job, totals)


def _bids(job: FileJob) -> Any:
    import pathway as pw

    class Bid(pw.Schema):
        auction: int
        bidder: int
        price: int
        date_time: int

    return pw.io.jsonlines.read(str(job.source), schema=Bid, mode="static")


def _windows(bids: Any, instance: Any) -> Any:
    import pathway as pw

    return bids.windowby(bids.date_time, window=pw.temporal.tumbling(duration=10_000), instance=instance)


def _totals() -> dict[str, Any]:
    import pathway as pw

    return {
        "start_ms": pw.this._pw_window_start,
        "end_ms": pw.this._pw_window_end,
        "n": pw.reducers.count(),
        "total": pw.reducers.sum(pw.this.price),
    }


def _run(job: FileJob, results: Any) -> None:
    import pathway as pw

    pw.io.jsonlines.write(results, str(job.output / "all.jsonl"))
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
