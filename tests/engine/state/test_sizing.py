"""Estimates of memory are close to what is allocated, and follow what values become."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.engine.state import RocksDBBackend
from tidegate.engine.state.sizing import EntrySize, container_bytes, deep_bytes
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import KeyedTableState, MapState, WindowTableState

COUNT = 3000
LARGE = 1 << 20
"""Integers from here on are no two the same object."""


class Row(msgspec.Struct):
    name: str
    values: list[int]


class Total(msgspec.Struct, gc=False):
    n: int
    total: float


@dataclass(slots=True)
class Point:
    x: float
    y: float


class Colour(Enum):
    RED = "red"


VALUES: dict[str, Callable[[int], Any]] = {
    "small integers": lambda n: n % 100,
    "integers": lambda n: LARGE + n,
    "floats": lambda n: n / 7,
    "enum members": lambda n: Colour.RED,
    "words": lambda n: f"word {LARGE + n}",
    "texts": lambda n: f"{n}" + "x" * 600,
    "bytes": lambda n: bytes(1000 + n % 2),
    "counts": lambda n: [1],
    "accumulators": lambda n: [LARGE + n, n / 7],
    "lists": lambda n: [LARGE + n * 5 + i for i in range(5)],
    "tuples": lambda n: (LARGE + n, n / 7),
    "structs": lambda n: Total(LARGE + n, n / 7),
    "structs of lists": lambda n: Row(f"row {LARGE + n}", [LARGE + n, -n - LARGE]),
    "dataclasses": lambda n: Point(n / 7, n / 9),
    "dicts": lambda n: {LARGE + n: n / 7},
    "sets": lambda n: {LARGE + n * 3 + i for i in range(3)},
}
BACKEND = RocksDBBackend(block_cache_bytes=1 << 20, write_buffer_bytes=1 << 20)


@pytest.fixture
def traced() -> Any:
    """The bytes that Python has allocated. The allocator takes up to fifteen more for each object than it is asked for."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_estimated_as_they_are_allocated(kind: str, traced: Callable[[], int]) -> None:
    """Never below, and hardly above but for what is not traced: a float of 24 bytes is given 32."""
    make = VALUES[kind]
    reused = [make(n) for n in range(COUNT)]  # what the interpreter kept of earlier objects, such as tuples, is used up
    held: list[Any] = [None] * COUNT
    before = traced()
    for n in range(COUNT):
        held[n] = make(n)
    allocated = traced() - before
    estimate = sum(map(deep_bytes, held))
    assert len(reused) == COUNT
    assert allocated - 2000 <= estimate <= 1.35 * allocated + 2000


def _fill_keyed(cluster: StateCluster) -> None:
    table = KeyedTableState("s", Any).bind(cluster.stores[0].tables)
    for n in range(COUNT):
        table.put(LARGE + n, [LARGE + n, n / 7])


def _fill_and_replace(cluster: StateCluster) -> None:
    table = KeyedTableState("s", Any).bind(cluster.stores[0].tables)
    for n in range(2 * COUNT):
        table.put(LARGE + n, [LARGE + n, n / 7])
        table.remove(LARGE + n - COUNT)


def _fill_windows(per_window: int) -> Callable[[StateCluster], None]:
    def fill(cluster: StateCluster) -> None:
        table = WindowTableState("s", Any).bind(cluster.stores[0].tables)
        for n in range(COUNT):
            table.open(n // per_window)[LARGE + n] = [LARGE + n, n / 7]

    return fill


def _fill_maps(per_key: int) -> Callable[[StateCluster], None]:
    def fill(cluster: StateCluster) -> None:
        for n in range(COUNT):
            cluster.bind(MapState("s", int, Any), LARGE + n // per_key).put(LARGE + n, [LARGE + n, n / 7])

    return fill


@pytest.mark.parametrize(
    ("state", "fill"),
    [
        pytest.param(KeyedTableState("s", Any), _fill_keyed, id="keyed"),
        pytest.param(KeyedTableState("s", Any), _fill_and_replace, id="keyed, come and gone"),
        pytest.param(WindowTableState("s", Any), _fill_windows(300), id="few windows"),
        pytest.param(MapState("s", int, Any), _fill_maps(1), id="maps of one"),
        pytest.param(MapState("s", int, Any), _fill_maps(5), id="maps of five"),
        pytest.param(MapState("s", int, Any), _fill_maps(300), id="large maps"),
    ],
)
def test_tables_are_estimated_as_they_are_allocated(
    state: Any, fill: Callable[[StateCluster], None], tmp_path: Path, traced: Callable[[], int]
) -> None:
    """Within a quarter, and hardly below, however full their dicts are."""
    cluster = StateCluster(BACKEND, tmp_path, [state], memory_budget_bytes=1 << 30, key_type=int)
    before = traced()
    fill(cluster)
    allocated = traced() - before
    for _ in range(512):  # each looks at a few entries now and then
        assert not cluster.stores[0].over_budget
    assert 0.95 * allocated <= cluster.stores[0].memory_bytes <= 1.25 * allocated
    cluster.close()


def test_an_empty_container_costs_nothing() -> None:
    """So that a table without entries can get below any budget."""
    assert container_bytes({}) == container_bytes(set()) == 0
    assert container_bytes({1: 1}) > 200


def test_what_is_inside_counts() -> None:
    """A Struct with a long list is larger than one with a short list."""
    small, large = deep_bytes(Row("a", [])), deep_bytes(Row("a", [n << 40 for n in range(1000)]))
    assert large - small > 1000 * 36
    assert deep_bytes({"a" * 100: "b" * 100}) > 300


def test_long_containers_are_sampled() -> None:
    """The estimate of a uniform list of any length is within a tenth."""
    estimate = deep_bytes(["x" * 51 for _ in range(10_000)])
    assert abs(estimate - 10_000 * (112 + 8)) < 0.1 * estimate


def test_one_huge_value_among_many_is_noticed_at_a_flush() -> None:
    """Its encoded size gives it away, even when it is not among those looked at."""
    entries = [(n, [1]) for n in range(1001)]
    entries[500] = (500, list(range(100_000)))
    size = EntrySize()
    size.measure(entries, [msgspec.msgpack.encode(value) for _, value in entries])
    assert size.mean * len(entries) > 1_000_000


def test_samples_move_the_mean() -> None:
    """Growing values are noticed between flushes."""
    size = EntrySize()
    for _ in range(10):
        size.sample([("k", "x" * 10_000)])
    assert size.mean > 9_000
    size.sample([])
    size.measure([], [])
    assert size.mean > 9_000


def test_a_sample_says_whether_the_mean_was_right() -> None:
    """While it is, others need not be looked at so soon; an empty table says nothing against it."""
    size = EntrySize()
    assert not size.sample([("k", "x" * 10_000)])
    for _ in range(10):
        size.sample([("k", "x" * 10_000)])
    assert size.sample([("k", "x" * 10_000)])
    assert size.sample([])
    assert not size.sample([("k", "")])


def test_entries_that_the_interpreter_has_anyway_count_for_a_byte() -> None:
    """A number of bytes is a number of entries, also of small integers by small integers."""
    size = EntrySize()
    for _ in range(20):
        size.measure([(1, 2)], [b"\2"])
    assert size.mean == 1
    for _ in range(20):
        size.sample([(1, 2)])
    assert size.mean == 1
