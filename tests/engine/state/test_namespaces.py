"""Namespaces as bytes, and the first of those that have entries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.state.namespaces import NamespaceOrder, namespace_of, raw_namespace
from tidegate.operators.time import MAX_WATERMARK, MIN_WATERMARK


@given(st.lists(st.integers(MIN_WATERMARK, MAX_WATERMARK), min_size=2))
def test_namespaces_sort_as_bytes_like_integers(namespaces: list[int]) -> None:
    """Negative ones too, up to the final watermark."""
    encoded = [raw_namespace(namespace) for namespace in namespaces]
    assert sorted(encoded) == [raw_namespace(namespace) for namespace in sorted(namespaces)]
    assert [namespace_of(b"kg" + raw) for raw in encoded] == namespaces


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["add", "empty", "open", "discard"]))))
def test_the_first_is_the_lowest_that_has_entries(steps: list[tuple[int, str]]) -> None:
    """Whatever came and went before; one that is empty for now is found again when it has entries."""
    order = NamespaceOrder()
    full: set[int] = set()
    stays: set[int] = set()
    for namespace, step in steps:
        if step == "add":
            order.add(namespace)
            full.add(namespace)
        elif step == "discard":
            order.discard(namespace)
            full.discard(namespace)
            stays.discard(namespace)
        elif step == "empty":
            full.discard(namespace)
            stays.discard(namespace)
        elif namespace in set(order):
            full.discard(namespace)
            stays.add(namespace)
        assert order.first(full.__contains__, stays.__contains__) == min(full, default=None)
        assert full <= set(order)


def test_what_was_restored_is_in_order() -> None:
    """And replaces what was known."""
    order = NamespaceOrder()
    order.add(1)
    order.reset({7, 3, 5})
    assert order.first({5, 7}.__contains__, set[int]().__contains__) == 5
    assert set(order) == {5, 7}
