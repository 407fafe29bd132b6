"""A scenario over the bids from topic to topic, against the engines that a Python programmer would take otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Final, Literal

from tidegate.connectors import formats, kafka
from tidegate.connectors.kafka import KafkaSink
from tidegate.connectors.source import Source
from tidegate.engine import RunConfig, Topology

from .. import kafka_results
from ..data import Bid
from ..kafka_results import results_topic, writing_side
from ..kafka_topics import PARTITIONS, bids_topic, count, create, fill
from ..peers import environment, faust, quix
from ..peers.job import PeerJob
from ..scenario import Figures, Scenario, Setup, Tell
from ..stopwatch import time_job
from .compared import at_least

PEERS: Final[Mapping[str, ModuleType]] = {peer.LABEL: peer for peer in (quix, faust)}

Guarantee = Literal["at_least_once", "exactly_once"]
GUARANTEES: Final[Mapping[str, Guarantee]] = {"exactly-once": "exactly_once", "at-least-once": "at_least_once"}
"""The engine's sides, by name."""

Job = Literal["stateless", "window"]


def bids_source(setup: Setup) -> Source[Bid]:
    """The topic of bids, to its end."""
    return kafka.source(
        setup.kafka.servers, bids_topic(setup.bids, setup.events), format=formats.json(Bid), stop_at_end=True
    )


def json_sink(setup: Setup, topic: str, key: str, guarantee: Guarantee) -> KafkaSink:
    """A topic of results."""
    return kafka.sink(setup.kafka.servers, topic, format=formats.json(), key=key, delivery=guarantee)


def with_checkpoints(setup: Setup, side: str) -> RunConfig:
    """A checkpoint every second: without, neither guarantee holds."""
    return RunConfig(
        checkpoints=setup.work / f"checkpoints-{side}",
        checkpoint_interval="1s",
        restore=None,
        job=f"{setup.run_name}-{side}",
    )


def prepare(closing: bool, setup: Setup, tell: Tell) -> None:
    """The peers' environments, and the bids in topics, for each side as many as it takes."""
    folder = setup.bids.parent
    for peer in PEERS.values():
        environment.ensure(folder, peer, tell)
    tell("filling topics")
    fill(setup.kafka.servers, setup.bids, setup.events)
    for n, is_closed in {(_bids_of(setup.events, label), closing and PEERS[label].CLOSING) for label in PEERS}:
        if (n, is_closed) != (setup.events, False):
            fill(setup.kafka.servers, setup.bids, n, closing=is_closed)


def _bids_of(events: int, side: str) -> int:
    """How many bids a side takes."""
    return min(events, PEERS[side].MOST_BIDS) if side in PEERS else events


def _engine_side(
    topology_of: Callable[[Setup, str, Guarantee], Topology], side: str
) -> tuple[str, Callable[[Setup], Figures]]:
    def write(setup: Setup, topic: str) -> Figures:
        topology = topology_of(setup, topic, GUARANTEES[side])
        return time_job(topology, with_checkpoints(setup, side)) | {"events": setup.events}

    return writing_side(side, write)


def _peer_side(job: Job, label: str, setup: Setup) -> Figures:
    """Become the peer: it prints what it measured."""
    peer, servers = PEERS[label], setup.kafka.servers
    source = bids_topic(setup.bids, _bids_of(setup.events, label), closing=job == "window" and peer.CLOSING)
    sink = results_topic(setup, label)
    create(servers, sink)
    work = setup.work / f"state-{label}"
    work.mkdir()
    environment.become(
        setup.bids.parent,
        peer,
        job,
        PeerJob(servers, source, count(servers, source), sink, PARTITIONS, work, f"{setup.run_name}-{label}"),
    )


def _check(job: Job, answer: str, setup: Setup, side: str) -> None:
    """The committed records of a side's topic are what DuckDB makes of as many bids."""
    updates = job == "window" and side in PEERS and PEERS[side].UPDATES
    kafka_results.check(answer, _bids_of(setup.events, side), setup, side, updates=updates)


def against_peers(
    job: Job,
    title: str,
    answer: str,
    topology_of: Callable[[Setup, str, Guarantee], Topology],
    note: str,
) -> Scenario:
    """The engine with both guarantees against each of the peers.

    Args:
        job: what a peer does.
        title: of the scenario.
        answer: the name of the answer by DuckDB.
        topology_of: the engine's topology, from what it works on, the topic of results, and the guarantee.
        note: what else a reader must know.
    """
    peers = {label: partial(_peer_side, job, label) for label in PEERS}
    return Scenario(
        title=title,
        sides=dict(_engine_side(topology_of, side) for side in GUARANTEES) | peers,
        events=2_000_000,
        reference=tuple(peers),
        check=partial(_check, job, answer),
        wanted=at_least(5, "the better peer"),
        needs_broker=True,
        prepare=partial(prepare, job == "window"),
        repeat=3,
        note="Exactly once with a checkpoint every second is what the ratio is about; the peers work at least once and commit "
        "every five seconds or less often. Quix takes 200,000 bids and Faust 20,000, and rates are compared. A peer's clock "
        "runs from its first record to its last, ours from the moment at which the job runs until all is committed. "
        + note,
    )
