"""What an operator asks for is what it declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state import DictBackend
from tidegate.engine.testing.state_cluster import StateCluster
from tidegate.operators.state import MapState, ValueState


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
