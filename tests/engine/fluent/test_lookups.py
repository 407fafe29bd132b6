"""What is looked up for a stream's records: in a copy of a table, or by a coroutine."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, TopologyError, run
from tidegate.operators import Joined


async def _square(n: int) -> int | None:
    return n * n if n % 2 else None


async def _squares(numbers: list[int]) -> dict[int, int]:
    return {n: n * n for n in numbers if n % 2}


def _values(make: Any) -> list[Any]:
    topology, sink = Topology("looked-up"), memory.sink()
    make(topology.source("numbers", memory.source([1, 2, 3], type=int))).sink("out", sink)
    run(topology, RunConfig(state_backend="dict", parallelism=2), live=False)
    return sorted(sink.values, key=repr)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda s: s.lookup_join(_square, on=lambda n: n), [Joined(1, 1), Joined(3, 9)]),
        (lambda s: s.key_by(lambda n: n).lookup_join(_square), [Joined(1, 1), Joined(3, 9)]),
        (
            lambda s: s.lookup_join(_squares, on=lambda n: n, batch_size=2, how="left", select=lambda n, row: (n, row)),
            [(1, 1), (2, None), (3, 9)],
        ),
    ],
)
def test_records_come_with_what_is_found(make, expected):
    """By a key of their own, or by that of the stream."""
    assert _values(make) == expected


def test_every_subtask_has_the_whole_table():
    """Whatever the table is dealt out by; a record that overtakes its row comes without."""

    def make(stream: Any) -> Any:
        table = stream.key_by(lambda n: n, name="by-row").latest()
        return stream.broadcast_join(
            table, match=lambda n, rows: rows.values(), how="left", select=lambda n, row: (n, row)
        )

    assert {n for n, _ in _values(make)} == {1, 2, 3}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda s: s.lookup_join(_square), TopologyError, "pass on=, or put .key_by"),
        (lambda s: s.map(lambda n: n).lookup_join(_square, on=str), TopologyError, "lookup_join .*pass input_type="),
        (lambda s: s.lookup_join(_square, on=str, cache_ttl="1m"), ValueError, "give cache_size too"),
        (lambda s: s.broadcast_join(s.key_by(str).latest()), ValueError, "either on=, the key"),
    ],
)
def test_what_cannot_be_looked_up_is_refused(make, error, message):
    """One clear line when the topology is built."""
    with pytest.raises(error, match=message):
        make(Topology("refused").source("numbers", memory.source([1], type=int)))
