"""What an operator asks for is what it declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.errors import StateError, StateTypeError
from tidegate.engine.state import DictBackend
from tidegate.engine.state.layout import declared_layouts
from tidegate.engine.testing.state_cases import EVERYTHING
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import MapState, StateDescriptor, ValueState


def _value(stored: Any = int) -> ValueState[Any]:
    return ValueState("v", stored, upgrade=lambda version, value: value)


def test_a_descriptor_made_anew_finds_its_state() -> None:
    """An operator may build its descriptors whenever it is asked, upgrade function and all."""
    cluster = StateCluster(DictBackend(), Path("unused"), [_value()])
    cluster.bind(_value(), "a").set(1)
    assert cluster.bind(_value(), "a").get() == 1


@pytest.mark.parametrize("other", [ValueState("other", int), _value(str), MapState("v", str, int)])
def test_what_was_not_declared_is_refused(other: Any) -> None:
    """Another name, another type, another kind: it would not be in the snapshots."""
    cluster = StateCluster(DictBackend(), Path("unused"), [_value()])
    with pytest.raises(StateError, match="states"):
        cluster.bind(other, "a")


def _declared(*descriptors: StateDescriptor[Any]) -> Any:
    cluster = StateCluster(DictBackend(), Path("unused"), descriptors, uses_timers=True)
    return cluster, declared_layouts(cluster.spec(0, 1))


def test_what_is_declared_is_known_without_a_store() -> None:
    """The same schemas that a snapshot would have, timers among them."""
    cluster, layouts = _declared(*EVERYTHING, ValueState("brief", str, ttl="1h"))
    stored = cluster.stores[0].tables.schemas
    assert tuple(layout.schema for layout in layouts.values()) == stored
    assert "timers.event" in layouts
    assert layouts["brief"].expiring


def test_a_type_that_cannot_be_stored_is_refused_without_a_store() -> None:
    """The message names operator and state."""
    with pytest.raises(StateTypeError, match="state 'v' of operator 'operator'"):
        _declared(_value(object))
