"""Running aggregates per key."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg
from tidegate.operators.keyed_aggregate import KeyedAggregate

AGGREGATES = {"n": agg.count(), "total": agg.sum(), "top": agg.max(), "newest": agg.last()}
RECORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-9, 9)), max_size=20)


@settings(max_examples=50, deadline=None)
@given(RECORDS, st.integers(0, 20), st.booleans())
def test_each_record_gives_the_aggregates_of_its_key_so_far(
    records: list[tuple[str, int]], cut: int, inline: bool
) -> None:
    """One result per record, wherever batches are cut and state is restored, generated or plain."""
    with OperatorHarness(KeyedAggregate(AGGREGATES, inline=inline)) as h:
        for part in (records[:cut], records[cut:]):
            h.push([v for _, v in part], keys=[k for k, _ in part])
        wanted = []
        for i, (key, value) in enumerate(records):
            own = [v for k, v in records[: i + 1] if k == key]
            wanted.append((key, len(own), sum(own), max(own), value))
        assert [(r.key, r.n, r.total, r.top, r.newest) for r in h.values] == wanted
        assert h.keys == [key for key, _ in records]


@pytest.mark.slow
def test_a_tiny_budget_on_rocksdb_changes_nothing() -> None:
    """Accumulators that were evicted are read back and go on."""
    with OperatorHarness(KeyedAggregate(AGGREGATES), backend="rocksdb", memory_budget_bytes=300) as h:
        for i in range(20):
            h.push([i, i, i], keys=["a", f"k{i % 7}", i])
        assert [r.n for r in h.values if r.key == "a"] == list(range(1, 21))


def test_a_result_keeps_the_timestamp_of_its_record() -> None:
    """Values change one for one, nothing else does."""
    with OperatorHarness(KeyedAggregate({"n": agg.count()})) as h:
        h.push([1, 2], [7, 5], ["a", "a"])
        assert [time for _, time in h.output] == [7, 5]


def test_emit_every_gives_out_the_newest_result_of_each_key_that_changed() -> None:
    """At full multiples of the interval and at the end, with the timestamp of the key's last record."""
    with OperatorHarness(KeyedAggregate({"n": agg.count()}, emit_every_ms=1_000)) as h:
        h.push([1, 2, 3], [7, 8, 9], ["a", "b", "a"])
        assert h.values == []
        h.advance(1_000)
        assert sorted((r.key, r.n, time) for r, time in h.output) == [("a", 2, 9), ("b", 1, 8)]
        h.clear().advance(1_000).push([4], [3], ["b"]).end()
        assert [(r.key, r.n, time) for r, time in h.output] == [("b", 2, 3)]


def test_emit_every_works_without_event_time() -> None:
    """Results have no timestamps where records have none."""
    with OperatorHarness(KeyedAggregate({"n": agg.count()}, emit_every_ms=1_000)) as h:
        h.push([1], keys=["a"]).advance(1_000)
        assert [(r.n, time) for r, time in h.output] == [(1, None)]


def test_a_failing_record_is_named() -> None:
    """The user's error is the cause."""
    with OperatorHarness(KeyedAggregate({"s": agg.sum()})) as h, pytest.raises(OperatorError) as caught:
        h.push([1, "x"], keys=["a", "a"])
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_interval_must_be_positive() -> None:
    """Zero would mean a timer that never rests."""
    with pytest.raises(ValueError, match="longer than 0ms"):
        KeyedAggregate({"n": agg.count()}, emit_every_ms=0)
