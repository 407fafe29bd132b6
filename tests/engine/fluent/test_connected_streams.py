"""Several streams for one function."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, TopologyError, run
from tidegate.operators import ConnectedFunction, ListState


class Sums(ConnectedFunction[tuple[str, int, int]]):
    """The sums of both sides of a key, when the stream has ended."""

    LEFT = ListState("left", int)
    RIGHT = ListState("right", int)

    def states(self) -> Any:
        return [self.LEFT, self.RIGHT]

    def open(self, context: Any) -> None:
        self.sides = [context.state(state) for state in self.states()]

    def process_left(self, value: int, context: Any) -> None:
        self.sides[0].add(value)
        context.timers.set_event(10_000)

    def process_right(self, value: int, context: Any) -> None:
        self.sides[1].add(value)
        context.timers.set_event(10_000)

    def on_timer(self, timestamp_ms: int, context: Any) -> Any:
        yield (context.key, *[sum(side.get()) for side in self.sides])


class Named(ConnectedFunction[str]):
    """Says where a record came from."""

    def process_left(self, value: int, context: Any) -> Any:
        yield f"left {value}"

    def process_right(self, value: int, context: Any) -> Any:
        yield f"right {value}"


def _numbers(topology: Topology, name: str, *values: int) -> Any:
    return topology.source(name, memory.source(list(values), type=int), event_time=lambda n: n)


def test_keyed_streams_share_state_and_timers():
    """At any parallelism; what comes out keeps its key."""
    topology, sink = Topology("connected"), memory.sink()
    left, right = (
        _numbers(topology, name, *values).key_by(lambda n: "odd" if n % 2 else "even", name=f"by-{name}")
        for name, values in (("left", (1, 2, 3)), ("right", (4, 5)))
    )
    sums = left.connect(right).process(Sums(), name="sums")
    sums.reduce(lambda a, b: a, name="still-keyed").sink("out", sink)
    run(topology, RunConfig(state_backend="dict", parallelism=2), live=False)
    assert sorted(sink.values) == [("even", 2, 4), ("odd", 4, 5)]


def test_streams_without_keys_need_no_state():
    """One of them without keys is enough."""
    topology, sink = Topology("connected"), memory.sink()
    left, right = _numbers(topology, "left", 1).key_by(lambda n: n, name="by"), _numbers(topology, "right", 2)
    named = left.connect(right).process(Named())
    assert not named._keyed
    named.sink("out", sink)
    run(topology, live=False)
    assert sorted(sink.values) == ["left 1", "right 2"]


def test_what_does_not_fit_is_refused():
    """One clear line when the topology is built."""
    topology = Topology("connected")
    left, right = _numbers(topology, "left", 1), _numbers(topology, "right", 2)
    with pytest.raises(TopologyError, match=r"connect takes 2 streams \(left, right\), not 3"):
        left.connect(right, right).process(Named())
    with pytest.raises(ValueError, match="call key_by before"):
        left.connect(right).process(Sums())
