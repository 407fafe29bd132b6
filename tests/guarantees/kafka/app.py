"""The job that the Kafka guarantees kill: `python app.py SETTINGS`, where SETTINGS is JSON.

It copies a topic, counts per key and window, or does both into two sinks. It can be told to die, by SIGKILL, exactly where
a checkpoint or a recovery is most vulnerable.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from tidegate.connectors import formats, kafka
from tidegate.connectors.kafka.kafka_sink import KafkaSink
from tidegate.connectors.kafka.transactions import Transactions
from tidegate.engine import RunConfig, Topology, run
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.runtime.worker import Worker
from tidegate.operators import Watermarks, agg, windows


class Event(msgspec.Struct):
    """What the producers write."""

    id: int
    key: str
    at: int
    value: int


class Settings(msgspec.Struct):
    """How the job runs.

    Attributes:
        servers: of the broker.
        source: the topic to read.
        copy: the topic to copy to; None for no copy.
        windows: the topic for counts per key and second; None for none.
        state: the folder of the checkpoints.
        parallelism: subtasks per operator.
        interval: between checkpoints.
        die_at: the place to die at, one of `PLACES`.
        die_after: for the how manieth time it comes there, from 1.
        transaction_timeout: of the sinks.
        rate_limit: of the source, so that a job lives through several checkpoints.
        options: further settings of the run.
    """

    servers: str
    source: str
    state: str
    copy: str | None = None
    windows: str | None = None
    parallelism: int = 1
    interval: str = "200ms"
    die_at: str | None = None
    die_after: int = 1
    transaction_timeout: str = "5m"
    rate_limit: int | None = None
    options: dict[str, Any] = {}


def topology(settings: Settings) -> Topology:
    """What the settings ask for."""
    made = Topology("guarantee")
    events = made.source(
        "events",
        kafka.source(settings.servers, settings.source, format=formats.json(Event)),
        event_time="at",
        watermarks=Watermarks(out_of_orderness="500ms", idle_timeout=None),
        rate_limit=settings.rate_limit,
    )
    if settings.copy is not None:
        events.map(lambda e: (e.id, e.key), name="copy").sink("copied", _sink(settings, settings.copy, lambda c: c[1]))
    if settings.windows is not None:
        counted = events.key_by("key", name="by-key").window(windows.tumbling("1s"))
        results = counted.aggregate(n=agg.count(), total=agg.sum("value"), name="window")
        flat = results.map(lambda w: (w.key, w.start_ms, w.n, w.total), name="flat")
        flat.sink("counted", _sink(settings, settings.windows, lambda w: w[0]))
    return made


def _sink(settings: Settings, topic: str, key: Callable[[Any], str]) -> Any:
    return kafka.sink(
        settings.servers, topic, format=formats.json(), key=key, transaction_timeout=settings.transaction_timeout
    )


def _dies(owner: type, method: str, after: int, *, before: bool) -> None:
    """Let the process die before or after the nth call of an async method."""
    original = getattr(owner, method)
    calls = 0

    async def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await original(*args, **kwargs)
        if calls == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, method, dying)


PLACES: dict[str, tuple[type, str, bool]] = {
    "after prepare, before the manifest": (CheckpointStorage, "write_manifest", True),
    "after the manifest, before EndTxn": (CheckpointStorage, "write_manifest", False),
    "before an EndTxn": (Transactions, "end", True),
    "between two EndTxn": (Transactions, "end", False),
    "in a restore, before the sinks recover": (KafkaSink, "recover", True),
    "in a restore, after a sink has recovered": (KafkaSink, "recover", False),
    "in a restore, before the state is opened": (Worker, "deploy", True),
}
"""Where the job can be told to die: what is called there, and whether it dies before or after the call."""


def main() -> None:
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    if settings.die_at is not None:
        owner, method, before = PLACES[settings.die_at]
        _dies(owner, method, settings.die_after, before=before)
    config = RunConfig(
        job=settings.source,  # transactional ids carry the name of the job, and tests share a broker
        checkpoints=settings.state,
        checkpoint_interval=settings.interval,
        checkpoint_timeout="30s",
        parallelism=settings.parallelism,
        **settings.options,
    )
    run(topology(settings), config, live=False)


if __name__ == "__main__":
    main()
