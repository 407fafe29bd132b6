"""Estimates of memory follow what values become."""

from __future__ import annotations

import msgspec
from tidegate.engine.state.sizing import EntrySize, deep_bytes


class Row(msgspec.Struct):
    name: str
    values: list[int]


def test_what_is_inside_counts() -> None:
    """A Struct with a long list is larger than one with a short list."""
    small, large = deep_bytes(Row("a", [])), deep_bytes(Row("a", [n << 40 for n in range(1000)]))
    assert large - small > 1000 * 36
    assert deep_bytes({"a" * 100: "b" * 100}) > 300


def test_long_containers_are_sampled() -> None:
    """The estimate of a uniform list of any length is within a tenth."""
    estimate = deep_bytes(["x" * 51 for _ in range(10_000)])
    assert abs(estimate - 10_000 * (100 + 8)) < 0.1 * estimate


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
