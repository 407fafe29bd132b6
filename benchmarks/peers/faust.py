"""faust-streaming."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

from ..stopwatch import print_result
from .job import FirstToLast, PeerJob

LABEL: Final = "faust-streaming"
PACKAGES: Final = ("faust-streaming==0.15.3", "orjson>=3.10,<4", "uvloop>=0.19")
MOST_BIDS: Final = 20_000
"""A few seconds' worth of them; rates are compared."""

CLOSING: Final = False
UPDATES: Final = True
"""A windowed table gives a result for each record. The last one of a window is what it comes to."""

Handle = Callable[[Any], Awaitable[None]]


def stateless(job: PeerJob) -> NoReturn:
    """Filter and map. The results go out without keys, which is the faster way."""
    app = _application(job)
    results = app.topic(job.sink, value_serializer="json", partitions=job.partitions)

    async def handle(bid: dict[str, Any]) -> None:
        if bid["price"] > 1000:
            converted = {
                "auction": bid["auction"],
                "bidder": bid["bidder"],
                "price": bid["price"] * 0.908,
                "date_time": bid["date_time"],
            }
            await results.send(value=converted)

    _run(job, app, app.topic(job.source, value_serializer="json", key_serializer="raw"), handle)


def window(job: PeerJob) -> NoReturn:
    """Count and sum per auction and ten seconds, in memory and a changelog topic as by default."""
    import faust

    class Bid(faust.Record, serializer="json"):  # type: ignore[misc]
        auction: int
        bidder: int
        price: int
        channel: str
        url: str
        date_time: float

    app = _application(job)
    results = app.topic(job.sink, value_serializer="json", partitions=job.partitions)
    # The arithmetic of its windows has no unit: milliseconds do as well.
    windows = app.Table("totals", default=lambda: [0, 0], partitions=job.partitions).tumbling(10_000.0)
    totals = windows.relative_to_field(Bid.date_time)

    def grown(so_far: list[int], price: int) -> list[int]:
        return [so_far[0] + 1, so_far[1] + price]

    async def handle(bid: Bid) -> None:
        own = totals[bid.auction]
        own.apply(grown, bid.price)
        n, total = own.value()
        start_ms = int(bid.date_time) // 10_000 * 10_000
        result = {"key": bid.auction, "start_ms": start_ms, "end_ms": start_ms + 10_000, "n": n, "total": total}
        await results.send(key=str(bid.auction), value=result)

    _run(job, app, app.topic(job.source, value_type=Bid, value_serializer="json", key_serializer="raw"), handle)


def _application(job: PeerJob) -> Any:
    import faust
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # its own option for that changes nothing

    return faust.App(
        job.name,
        broker=f"kafka://{job.servers}",
        datadir=job.work,
        store="memory://",
        topic_partitions=job.partitions,
        topic_replication_factor=1,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=5000,
        # Joining the group takes half of it, which is not measured, but waited for.
        broker_session_timeout=6.0,
        broker_heartbeat_interval=2.0,
        # Without it each result is a request of its own.
        producer_linger=0.05,
        stream_wait_empty=False,
        web_enabled=False,
    )


def _run(job: PeerJob, app: Any, bids: Any, handle: Handle) -> NoReturn:
    """Handle each bid, and end the process behind the last."""
    seen = FirstToLast(job.count)

    async def each(stream: Any) -> None:
        async for bid in stream:
            is_last = seen.note()
            await handle(bid)
            if is_last:
                await app.producer.flush()
                sys.stdout = sys.__stdout__  # the worker has made it a log
                print_result(seen.done())
                # A worker knows no end of the stream, and to stop it in order takes long.
                os._exit(0)

    app.agent(bids)(each)
    sys.argv = ["faust", "worker", "-l", "warn", "--without-web"]
    app.main()
    raise RuntimeError(f"the worker ended behind {seen.seen} of {job.count} records")
