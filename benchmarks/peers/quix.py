"""Quix Streams."""

from __future__ import annotations

from typing import Any, Final

from .job import FirstToLast, PeerJob

LABEL: Final = "quix-streams"
PACKAGES: Final = ("quixstreams==3.28.1",)
MOST_BIDS: Final = 200_000
"""A few seconds' worth of them; rates are compared."""

UPDATES: Final = False
CLOSING: Final = True
"""Windows end when their own key is seen again: the topic must hold one more bid for each auction. (Ending them for all keys
at once, `closing_strategy="partition"`, takes a millisecond per record here.)"""


def stateless(job: PeerJob) -> dict[str, float]:
    """Filter and map."""

    def expensive(bid: dict[str, Any]) -> bool:
        if seen.note():
            app.stop()
        return bool(bid["price"] > 1000)

    def converted(bid: dict[str, Any]) -> dict[str, Any]:
        return {
            "auction": bid["auction"],
            "bidder": bid["bidder"],
            "price": bid["price"] * 0.908,
            "date_time": bid["date_time"],
        }

    seen = FirstToLast(job.count)
    app = _application(job)
    bids, results = _topics(app, job)
    app.dataframe(bids).filter(expensive).apply(converted).to_topic(results)
    app.run()
    return seen.done()


def window(job: PeerJob) -> dict[str, float]:
    """Count and sum per auction and ten seconds, in RocksDB and a changelog topic as by default."""
    from quixstreams.dataframe.windows import Count, Sum

    def event_time(bid: dict[str, Any], headers: Any, timestamp_ms: float, kind: Any) -> int:
        if seen.note():
            app.stop()
        date_time: int = bid["date_time"]
        return date_time

    def result(window: dict[str, Any], key: str, timestamp_ms: int, headers: Any) -> dict[str, Any]:
        return {
            "key": int(key),
            "start_ms": window["start"],
            "end_ms": window["end"],
            "n": window["n"],
            "total": window["total"],
        }

    seen = FirstToLast(job.count)
    app = _application(job)
    bids, results = _topics(app, job, event_time)
    windows = app.dataframe(bids).tumbling_window(duration_ms=10_000, grace_ms=2_000)
    finals = windows.agg(n=Count(), total=Sum("price")).final(closing_strategy="key")
    finals.apply(result, metadata=True).to_topic(results)
    app.run()
    return seen.done()


def _application(job: PeerJob) -> Any:
    from quixstreams import Application

    return Application(
        broker_address=job.servers,
        consumer_group=job.name,
        auto_offset_reset="earliest",
        state_dir=job.work,
        processing_guarantee="at-least-once",
        loglevel="WARNING",
        # Joining the group may take half of it, which is not measured, but waited for.
        consumer_extra_config={"session.timeout.ms": 6000},
    )


def _topics(app: Any, job: PeerJob, event_time: Any = None) -> tuple[Any, Any]:
    return (
        app.topic(job.source, value_deserializer="json", timestamp_extractor=event_time),
        app.topic(job.sink, value_serializer="json"),
    )
