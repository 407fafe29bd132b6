"""A subtask with several inputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, run
from tidegate.operators import MapState, MultiInputOperator, ProcessFunction, Watermarks
from tidegate.operators.batch import Batch
from tidegate.operators.state import KeyedTableState


class Paired(ProcessFunction[tuple[str, int], tuple[int, int]]):
    """Pairs the numbers of two streams that are at most 5 apart; a timer forgets a number that is 20 behind."""

    SEEN = MapState("seen", str, list[int])

    def states(self) -> Any:
        return [self.SEEN]

    def open(self, context: Any) -> None:
        self.seen = context.state(self.SEEN)

    def process(self, value: tuple[str, int], context: Any) -> Iterable[tuple[int, int]]:
        side, number = value
        other = "right" if side == "left" else "left"
        self.seen.put(side, [*(self.seen.get(side) or []), number])
        context.timers.set_event(number + 20)
        for found in self.seen.get(other) or []:
            if abs(found - number) <= 5:
                yield (number, found) if side == "left" else (found, number)

    def on_timer(self, timestamp_ms: int, context: Any) -> None:
        for side in ("left", "right"):
            self.seen.put(side, [n for n in self.seen.get(side) or [] if n > timestamp_ms - 20])


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("key", [lambda pair: "all", lambda pair: pair[1] // 1000])
def test_timers_wait_for_the_slowest_of_several_streams(parallelism, key):
    """Of two streams one is read to its end before the other begins: what the second needs is still there."""
    topology = Topology("pairs")
    left, right = (
        topology.source(
            side, memory.source([*range(0, 200, 3)], splits=2), event_time=lambda n: n, watermarks=Watermarks()
        ).map(lambda n, side=side: (side, n), name=f"{side}-side")
        for side in ("left", "right")
    )
    pairs = memory.sink()
    left.union(right).key_by(key, name="by-key").process(Paired(), name="paired").sink("pairs", pairs)
    run(topology, RunConfig(state_backend="dict", parallelism=parallelism), live=False)
    numbers = range(0, 200, 3)
    assert sorted(pairs.values) == [(a, b) for a in numbers for b in numbers if abs(a - b) <= 5]


class Tally(MultiInputOperator[tuple[int, int, int]]):
    """Per key, the sum of what came by the left and of what came by the right, at the end."""

    kind = "tally"
    keyed = True
    SUMS = KeyedTableState("sums", list[int])

    def states(self) -> Any:
        return [self.SUMS]

    def open(self, context: Any) -> None:
        self.sums = context.state(self.SUMS)

    def process_input(self, index: int, batch: Batch[int]) -> None:
        for key, value in zip(batch.keys, batch.values, strict=True):
            sums = self.sums.load(key) or [0, 0]
            sums[index] += value
            self.sums.put(key, sums)

    def on_end(self) -> Any:
        sums = dict(self.sums.items())
        return Batch([(key, *pair) for key, pair in sums.items()], keys=list(sums)) if sums else None


@pytest.mark.parametrize("parallelism", [1, 3])
def test_an_operator_with_several_inputs_is_told_by_which_a_batch_came(parallelism):
    """Each input may be a union, the same stream may be several inputs, and keys meet in one subtask."""
    topology = Topology("tally")
    ones, twos = (
        topology.source(name, memory.source([n] * 50, splits=2)).key_by(lambda n: 0, name=f"{name}-key")
        for name, n in (("ones", 1), ("twos", 2))
    )
    tens = topology.source("tens", memory.source([10] * 50)).key_by(lambda n: 0, name="tens-key")
    sums = memory.sink()
    tally = ones.union(tens).apply(Tally(), ones.union(twos), name="tally")
    tally.sink("sums", sums)
    run(topology, RunConfig(state_backend="dict", parallelism=parallelism), live=False)
    assert sums.values == [(0, 50 + 500, 50 + 100)]
