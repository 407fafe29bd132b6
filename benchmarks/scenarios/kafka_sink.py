"""How fast records go into Kafka, and what exactly once costs."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import msgspec
from tidegate.connectors import memory
from tidegate.engine import Topology

from .. import kafka_results
from ..data import Bid
from ..kafka_results import writing_side
from ..peers import aio, confluent
from ..scenario import Figures, Scenario, Setup
from ..stopwatch import time_job
from .compared import at_least
from .kafka_compared import GUARANTEES, json_sink, with_checkpoints

_MOST: Final = {aio.LABEL: 200_000}
"""How many bids a side takes that would take too long over all of them."""


def _bids_of(events: int, side: str) -> int:
    return min(events, _MOST.get(side, events))


def _bids(setup: Setup, side: str) -> list[Bid]:
    """Bids in memory."""
    n = _bids_of(setup.events, side)
    with setup.bids.open("rb") as lines:
        return msgspec.json.Decoder(Bid).decode_lines(b"".join(line for line, _ in zip(lines, range(n), strict=False)))


def _engine_side(side: str) -> tuple[str, Callable[[Setup], Figures]]:
    """The sink, and nothing before it but a list."""

    def write(setup: Setup, topic: str) -> Figures:
        topology = Topology("kafka-sink")
        bids = topology.source("bids", memory.source(_bids(setup, side), type=Bid))
        bids.sink("out", json_sink(setup, topic, "auction", GUARANTEES[side]))
        return time_job(topology, with_checkpoints(setup, side)) | {"events": setup.events}

    return writing_side(side, write)


def _client_side(client: ModuleType) -> tuple[str, Callable[[Setup], Figures]]:
    def write(setup: Setup, topic: str) -> Figures:
        bids = _bids(setup, client.LABEL)
        figures: Figures = client.write(setup.kafka.servers, topic, bids, _key)
        return figures | {"events": len(bids)}

    return writing_side(client.LABEL, write)


def _key(bid: Any) -> bytes:
    return b"%d" % bid.auction


def _check(setup: Setup, side: str) -> None:
    """Every bid, once."""
    kafka_results.check("copy", _bids_of(setup.events, side), setup, side)


SCENARIO = Scenario(
    title="JSON into a topic of four partitions: exactly once against at least once, a checkpoint every second",
    sides=dict(
        [
            *[_engine_side(side) for side in GUARANTEES],
            *[_client_side(client) for client in (confluent, aio)],
        ]
    ),
    events=3_000_000,
    reference="at-least-once",
    check=_check,
    wanted=at_least(0.9, "at least once"),
    needs_broker=True,
    note="Bids are in memory, with a key each. The clients are idempotent producers that encode the same structs; aiokafka "
    "takes 200,000 of them, one `send` each.",
)
