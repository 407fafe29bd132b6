"""The job that the Kafka guarantees kill: `python app.py SETTINGS`, where SETTINGS is JSON.

It copies a topic, counts per key and window, or does both into two sinks. It can be told to die, by SIGKILL, or to wait
exactly where a checkpoint or a recovery is most vulnerable. It writes events and log lines as JSON, and ends as the command
line does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tidegate.connectors import ConnectorError, formats, kafka
from tidegate.connectors.kafka.kafka_sink import KafkaSink
from tidegate.connectors.kafka.recovery import Recovery
from tidegate.connectors.kafka.transactions import Transactions
from tidegate.engine import RunConfig, TidegateError, Topology, run
from tidegate.engine.checkpoint.commit import Committer
from tidegate.engine.checkpoint.manifest import Manifest
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.cli.output import report
from tidegate.engine.logs import configure_logging
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
        wait_for: a file to wait for in that place instead of dying; the file of this name and `.waits` tells that it waits.
        transaction_timeout: of the sinks.
        counts_timeout: that of the counts, where it is another.
        checkpoint_timeout, restart_allowance: what a transaction has to outlive.
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
    wait_for: str | None = None
    transaction_timeout: str = "5m"
    counts_timeout: str | None = None
    checkpoint_timeout: str = "30s"
    restart_allowance: str = "1m"
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
        events.map(lambda e: (e.id, e.key), name="copy").sink(
            "copied", _sink(settings, settings.copy, lambda c: c[1], settings.transaction_timeout)
        )
    if settings.windows is not None:
        counted = events.key_by("key", name="by-key").window(windows.tumbling("1s"))
        results = counted.aggregate(n=agg.count(), total=agg.sum("value"), name="window")
        flat = results.map(lambda w: (w.key, w.start_ms, w.n, w.total), name="flat")
        timeout = settings.counts_timeout or settings.transaction_timeout
        flat.sink("counted", _sink(settings, settings.windows, lambda w: w[0], timeout))
    return made


def _sink(settings: Settings, topic: str, key: Callable[[Any], str], timeout: str) -> Any:
    return kafka.sink(
        settings.servers,
        topic,
        format=formats.json(),
        key=key,
        transaction_timeout=timeout,
        restart_allowance=settings.restart_allowance,
    )


@dataclass
class Place:
    """Where the job can be told to die: before or after a call of an async method.

    Attributes:
        counts: which calls count.
        narrowed: the arguments with which the last call is made.
    """

    owner: type
    method: str
    before: bool
    counts: Callable[..., bool] = lambda *_: True
    narrowed: Callable[..., tuple[Any, ...]] = lambda *args: args


def _stop_at(place: Place, after: int, stop: Callable[[], Awaitable[None]]) -> None:
    """Stop before or after the nth call that counts."""
    original = getattr(place.owner, place.method)
    calls = 0

    async def stopping(*args: Any, **named: Any) -> Any:
        nonlocal calls
        counted = place.counts(*args)
        calls += counted
        here = counted and calls == after
        if here and place.before:
            await stop()
        result = await original(*(place.narrowed(*args) if here else args), **named)
        if here and not place.before:
            await stop()
        return result

    setattr(place.owner, place.method, stopping)


def _is_savepoint(_: Any, manifest: Manifest) -> bool:
    return manifest.kind == "savepoint"


def _has_output_of_both(_: Any, manifest: Manifest) -> bool:
    return all(manifest.committables.get(sink) for sink in ("copied", "counted"))


class _Second:
    """Whether a sink commits for the same checkpoint as another one just before."""

    def __init__(self) -> None:
        self._before: int | None = None

    def __call__(self, _: Any, sink: str, committables: Sequence[dict[str, Any]]) -> bool:
        before, self._before = self._before, max(found["checkpoint"] for found in committables)
        return self._before == before


PLACES: dict[str, Place] = {
    "after prepare, before the manifest": Place(CheckpointStorage, "write_manifest", True),
    "after the manifest, before EndTxn": Place(CheckpointStorage, "write_manifest", False),
    "after the manifest with output of both sinks": Place(
        CheckpointStorage, "write_manifest", False, _has_output_of_both
    ),
    "after the savepoint's manifest, before EndTxn": Place(CheckpointStorage, "write_manifest", False, _is_savepoint),
    "before an EndTxn": Place(Transactions, "end", True),
    "between two EndTxn": Place(Transactions, "end", False),
    "between two EndTxn of one sink": Place(
        Recovery, "_each", False, lambda _, prepared: len(prepared) > 1, lambda it, prepared: (it, prepared[:1])
    ),
    "between the commits of two sinks": Place(Committer, "commit", True, _Second()),
    "in a restore, before the sinks recover": Place(KafkaSink, "recover", True),
    "in a restore, after a sink has recovered": Place(KafkaSink, "recover", False),
    "in a restore, before the state is opened": Place(Worker, "deploy", True),
}


async def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for(file: Path) -> Callable[[], Awaitable[None]]:
    def waits() -> bool:
        file.with_name(f"{file.name}.waits").touch()
        return not file.exists()

    async def wait() -> None:
        while waits():  # noqa: ASYNC110  # nobody but the file system tells
            await asyncio.sleep(0.01)

    return wait


def main() -> int:
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    configure_logging(sys.stdout, json=True)
    if settings.die_at is not None:
        place = PLACES[settings.die_at]
        _stop_at(place, settings.die_after, _die if settings.wait_for is None else _wait_for(Path(settings.wait_for)))
    try:
        config = RunConfig(
            job=settings.source,  # transactional ids carry the name of the job, and tests share a broker
            checkpoints=settings.state,
            checkpoint_interval=settings.interval,
            checkpoint_timeout=settings.checkpoint_timeout,
            parallelism=settings.parallelism,
            **settings.options,
        )
        run(topology(settings), config, live=False, json=True)
    except (TidegateError, ConnectorError) as error:
        return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
