"""How fast records come out of Kafka, decoded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from tidegate.connectors import formats, kafka
from tidegate.engine import RunConfig, Topology

from ..answers import totals
from ..data import Bid
from ..kafka_topics import bids_topic, fill
from ..peers import aio, confluent
from ..probe import Look, ProbeSink
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Tell
from ..stopwatch import time_job
from .compared import at_least

_NAME: Final = "kafka-source"


def prepare(setup: Setup, tell: Tell) -> None:
    """The bids in a topic."""
    tell(f"{_NAME}: filling a topic")
    fill(setup.kafka.servers, setup.bids, setup.events)


def engine(setup: Setup) -> Figures:
    """The source, and nothing behind it but the sum."""

    def measure(look: Look) -> Figures:
        topology = Topology(_NAME)
        source = kafka.source(
            setup.kafka.servers, bids_topic(setup.bids, setup.events), format=formats.json(Bid), stop_at_end=True
        )
        topology.source("bids", source).sink("out", ProbeSink(look))
        return time_job(topology, RunConfig())

    return _summed(setup, "engine", measure)


def by_hand(label: str, read: Callable[..., Figures]) -> tuple[str, Callable[[Setup], Figures]]:
    """The side of a client library."""

    def side(setup: Setup) -> Figures:
        def measure(look: Look) -> Figures:
            return read(setup.kafka.servers, bids_topic(setup.bids, setup.events), setup.events, Bid, look)

        return _summed(setup, label, measure)

    return label, side


def _summed(setup: Setup, side: str, measure: Callable[[Look], Figures]) -> Figures:
    """Measure, and leave for the check how many bids there were and what they come to."""
    found = {"bids": 0, "total": 0}

    def look(values: list[Any]) -> None:
        found["bids"] += len(values)
        found["total"] += sum([value.price for value in values])

    figures = measure(look)
    setup.output(side).write_text(json.dumps(found), encoding="utf-8")
    return figures


def check(setup: Setup, side: str) -> None:
    """All bids, each once."""
    found, answer = json.loads(setup.output(side).read_bytes()), totals(setup.bids)
    if found != answer:
        raise BenchmarkError(f"{_NAME}, {side}: the results are wrong: {found}, the answer by DuckDB is {answer}")


SCENARIO = Scenario(
    title="JSON bids out of a topic of four partitions, decoded to a typed struct",
    sides=dict(
        [
            ("engine", engine),
            by_hand(confluent.LABEL, confluent.read),
            by_hand(aio.LABEL, aio.read),
            by_hand(aio.BATCHES, aio.read_batches),
        ]
    ),
    events=2_000_000,
    reference=(confluent.LABEL, aio.LABEL),
    check=check,
    wanted=at_least(0.8, "the faster client"),
    needs_broker=True,
    prepare=prepare,
    note="Every side sums the prices. The clients have no offsets to keep, no event time and no bad records; librdkafka "
    "does not check the records' checksums, the others do. aiokafka-batches is no client but its parts, which the source of "
    "the engine is built on as well: the limit.",
)
