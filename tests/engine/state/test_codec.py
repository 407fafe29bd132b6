"""Values come back as they were, and what would not is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.errors import StateError, StateTypeError
from tidegate.engine.state import StateSchema
from tidegate.engine.state.codec import EXPIRING, ValueCodec, conversion


class Inner(msgspec.Struct):
    x: int


class Outer(msgspec.Struct):
    typed: Inner
    free: Any = None


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(json_like)
def test_builtin_values_come_back_under_any(value: Any) -> None:
    """`Any` is for what msgpack gives back unchanged."""
    codec = ValueCodec(Any, "state 's'")
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (Any, Inner(1)),
        (Any, (1, 2)),
        (list[Any], [1, Inner(1)]),
        (list[Any], [[{"a": (1,)}]]),
        (dict[str, Any], {"a": {1}}),
        (tuple[int, Any], (1, Inner(1))),
        (Outer, Outer(Inner(1), Inner(2))),
        (list[Outer | None], [None, Outer(Inner(1), (1,))]),
    ],
)
def test_a_struct_under_any_is_refused(stored: Any, value: Any) -> None:
    """It would come back as a dict."""
    codec = ValueCodec(stored, "state 's' of operator 'o'")
    with pytest.raises(StateError, match=r"state 's' of operator 'o'.*declare its type"):
        codec.encode(value)
    with pytest.raises(StateError, match="declare its type"):
        codec.encode_many([value])


def test_typed_parts_beside_any_are_not_looked_at() -> None:
    """A declared Struct may hold another."""
    codec = ValueCodec(Outer, "state 's'")
    value = Outer(Inner(1), {"a": [1]})
    assert codec.decode(codec.encode(value)) == value


def test_a_type_that_cannot_be_stored_is_refused_when_declared() -> None:
    """Before any value is seen."""
    with pytest.raises(StateTypeError, match="state 's'"):
        ValueCodec(complex, "state 's'")


def test_a_value_that_is_not_of_the_type_is_an_error_that_names_the_state() -> None:
    """Both when it is written, where msgpack cannot, and when it is read."""
    codec = ValueCodec(int, "state 's'")
    with pytest.raises(StateError, match=r"state 's'.*object"):
        codec.encode(object())
    with pytest.raises(StateError, match=r"state 's'.*object"):
        codec.encode_many([1, object()])
    with pytest.raises(StateError, match="state 's'"):
        codec.decode(codec.encode("text"))
    with pytest.raises(StateError, match="state 's'"):
        codec.decode(b"\xc1")


def _convert(old: StateSchema, new: StateSchema, stored: Any = int, upgrade: Any = None) -> Any:
    codec = ValueCodec(stored, "state 's'")
    return conversion("o", old, new, codec=codec, upgrade=upgrade, expiry_ms=lambda: 99)


def test_equal_schemas_need_no_conversion() -> None:
    """The bytes are as they should be, upgrade function or not."""
    schema = StateSchema("s", "keyed", 1, ("int",))
    assert _convert(schema, schema, upgrade=lambda version, value: value) is None


def test_a_higher_version_needs_an_upgrade_function() -> None:
    """Also when the type is the same: the meaning has changed."""
    old, new = StateSchema("s", "keyed", 1, ("int",)), StateSchema("s", "keyed", 2, ("int",))
    with pytest.raises(StateTypeError, match="version 1 is now 2"):
        _convert(old, new)
    convert = _convert(old, new, upgrade=lambda version, value: value + version)
    assert convert(msgspec.msgpack.encode(5)) == 6


def test_an_older_version_is_refused() -> None:
    """An upgrade function does not go back."""
    old, new = StateSchema("s", "keyed", 2, ("int",)), StateSchema("s", "keyed", 1, ("int",))
    with pytest.raises(StateTypeError, match="newer than this topology's 1"):
        _convert(old, new, upgrade=lambda version, value: value)


def test_map_keys_are_not_upgraded() -> None:
    """The function sees values only."""
    old, new = StateSchema("s", "map", 1, ("int", "int")), StateSchema("s", "map", 2, ("str", "int"))
    with pytest.raises(StateTypeError, match="map keys are not upgraded"):
        _convert(old, new, upgrade=lambda version, value: value)


def test_what_an_upgrade_returns_must_be_of_the_type() -> None:
    """Found at the restore, not at the next checkpoint."""
    old, new = StateSchema("s", "keyed", 1, ("str",)), StateSchema("s", "keyed", 2, ("int",))
    convert = _convert(old, new, upgrade=lambda version, value: value)
    with pytest.raises(StateError, match="after the upgrade from version 1"):
        convert(msgspec.msgpack.encode("text"))


def test_a_time_to_live_comes_and_goes_without_an_upgrade() -> None:
    """The value is wrapped and unwrapped."""
    plain, expiring = StateSchema("s", "keyed", 1, ("int",)), StateSchema("s", "keyed", 1, ("int", EXPIRING))
    assert _convert(plain, expiring, tuple[int, int])(msgspec.msgpack.encode(5)) == (99, 5)
    assert _convert(expiring, plain)(msgspec.msgpack.encode((7, 5))) == 5
