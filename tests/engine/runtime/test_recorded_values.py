"""Values of records in flight, as bytes and back."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import ModuleType
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.errors import StateTypeError
from tidegate.engine.runtime.recorded_values import UnrecordableError, ValuesDecoder, ValuesEncoder


class Click(msgspec.Struct, frozen=True):
    page: str
    at: int
    price: float | None = None


class Visit(msgspec.Struct):
    who: Any
    at: datetime


class Untidy(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        self.n += 1


@dataclass(frozen=True)
class Point:
    x: int
    y: Any = None


@dataclass
class Counted:
    n: int
    twice: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.twice = 2 * self.n


class Pair(NamedTuple):
    left: Any
    right: Any


class Color(enum.Enum):
    RED = "red"
    BLUE = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    pass


zones = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30)), ZoneInfo("Europe/Berlin")])
moments = st.builds(lambda moment, zone: moment.replace(tzinfo=zone), st.datetimes(), zones)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary(max_size=20)
    | st.decimals(allow_nan=False)
    | moments
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.sampled_from([*Color, *Level])
    | st.builds(Click, st.text(), st.integers(-(2**60), 2**60), st.none() | st.floats())
)
hashables = st.integers() | st.text() | st.tuples(st.integers(), st.text()) | st.sampled_from([*Color])
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(hashables, max_size=4)
        | st.frozensets(hashables, max_size=4)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.builds(Pair, inner, inner)
        | st.builds(Point, st.integers(), inner)
        | st.builds(Visit, inner, moments)
    ),
    max_leaves=8,
)


def _back(values: list[Any]) -> list[Any]:
    encoder = ValuesEncoder({})
    recorded = msgspec.msgpack.decode(msgspec.msgpack.encode(encoder.encode(values)), type=type(encoder.encode(values)))
    types = msgspec.convert(msgspec.to_builtins(encoder.types), list[type(encoder.types[0])] if encoder.types else list)
    return ValuesDecoder(types, {}, "the way").decode(recorded)


def _told(value: Any) -> Any:
    """All there is to a value, its type and those inside it included; equal exactly for values that are the same."""
    kind = type(value)
    if isinstance(value, dict):
        return kind, [(_told(key), _told(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return kind, sorted(map(repr, map(_told, value)))
    if isinstance(value, list | tuple):
        return kind, [_told(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return kind, [_told(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, Point | Counted):
        return kind, _told(vars(value))
    return kind, repr(value)


@pytest.mark.slow
@given(st.lists(anything, min_size=1, max_size=6))
def test_values_of_any_types_come_back_as_they_were(values):
    """Types and zones included, alone, mixed and inside each other."""
    assert _told(_back(values)) == _told(values)


@pytest.mark.slow
@given(st.lists(scalars, min_size=1, max_size=6).filter(lambda found: len(set(map(type, found))) == 1))
def test_values_of_one_type_come_back_as_they_were(values):
    """Batches mostly hold one type."""
    assert _told(_back(values)) == _told(values)


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([1, None, "a", 2.5, b"b", True], "plain"),
        ([[1, 2], []], "plain"),
        ([{"a": 1}, {2: None}], "plain"),
        ([(1, "a"), ()], "tuples"),
        ([Click("a", 1), Click("b", 2, 3.5)], "records"),
        ([Point(1, 2), Point(3)], "tagged"),
        ([Click("a", 1), 2], "tagged"),
        ([2**64], "tagged"),
        ([(1, (2, 3))], "tagged"),
        ([Click("a", 1, float("nan"))], "tagged"),
    ],
)
def test_what_is_common_is_encoded_in_one_go(values, form):
    """Only what msgpack alone would not give back as it was is looked at one by one."""
    assert ValuesEncoder({}).encode(values).form == form
    assert _told(_back(values)) == _told(values)


def test_a_field_that_does_not_hold_its_type_comes_back_as_it_was():
    """Nothing checks what a Struct is made with: an int where a float is declared stays one."""
    values: list[Any] = [Click("a", 1, 2), Click("b", True), Click(("no", "text"), 3)]  # type: ignore[arg-type]  # on purpose
    for value in values:
        assert _told(_back([value])) == _told([value])


def test_objects_are_made_without_running_what_made_them_first():
    """A second run of `__post_init__` could change them."""
    counted = Counted(3)
    counted.twice = 7
    assert _told(_back([counted, counted])) == _told([counted, counted])


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "builtins.object"),
        (Name("text"), f"{__name__}.Name"),
        (Untidy(1), f"{__name__}.Untidy"),
        (ValueError("x"), "builtins.ValueError"),
        (datetime(2020, 1, 1, tzinfo=type("Zone", (ZoneInfo,), {})("UTC")), "datetime in the zone"),
    ],
)
def test_what_would_not_come_back_is_refused(value, name):
    """Alone, and inside of what would."""
    for values in ([value], [(1, value)], [{"a": value}], [Pair(1, value)], [1, value]):
        with pytest.raises(UnrecordableError, match=name.replace(".", r"\.")):
            ValuesEncoder({}).encode(values)


def test_a_value_inside_itself_is_refused():
    """It has no end."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UnrecordableError, match="contains itself"):
        ValuesEncoder({}).encode([endless])


def test_a_class_without_a_name_is_found_as_the_record_type_of_its_operator():
    """Results of aggregates are of classes that are made when the topology is."""
    made = [msgspec.defstruct("Result", [("key", str), ("n", int)]) for _ in range(2)]
    encoder = ValuesEncoder({"count": made[0], "other": made[1]})
    recorded = encoder.encode([made[0]("a", 1), made[0]("b", 2)])
    (found, _) = ValuesDecoder(encoder.types, {"count": made[1]}, "the way").decode(recorded)
    assert found == made[1]("a", 1)
    with pytest.raises(UnrecordableError, match="Result"):
        ValuesEncoder({}).encode([made[0]("a", 1)])


@pytest.fixture
def module(monkeypatch):
    """A module of a user, whose classes change."""
    found = ModuleType("users_module")
    monkeypatch.setitem(sys.modules, "users_module", found)

    def define(**fields: Any) -> Any:
        found.Order = msgspec.defstruct("Order", list(fields.items()), module="users_module")  # type: ignore[attr-defined]  # made here
        return found.Order  # type: ignore[attr-defined]  # made above

    return define


def test_a_class_with_other_fields_is_refused_with_the_difference(module):
    """Before any record is read; the message names the edge, the type, the difference and what to do."""
    for others in ([], ["mixed"]):
        encoder = ValuesEncoder({})
        encoder.encode([module(id=int, total=float)(1, 2.5), *others])
        module(id=int, total=str)
        with pytest.raises(
            StateTypeError,
            match=r"the way are of type users_module\.Order.*`Order\.total` was float and is now str; start once.*savepoint",
        ):
            ValuesDecoder(encoder.types, {}, "the way")


def test_a_class_that_is_gone_is_refused(module):
    """Nothing is imported to find it."""
    encoder = ValuesEncoder({})
    encoder.encode([module(id=int)(1)])
    del sys.modules["users_module"]
    with pytest.raises(StateTypeError, match=r"users_module\.Order, which is not there any more; start once"):
        ValuesDecoder(encoder.types, {}, "the way")


def test_a_member_of_an_enum_that_is_gone_is_refused(monkeypatch):
    """The enum may have got others."""
    encoder = ValuesEncoder({})
    recorded = encoder.encode([Color.RED])
    monkeypatch.setattr(sys.modules[__name__], "Color", enum.Enum("Color", {"GREEN": "green"}))
    with pytest.raises(StateTypeError, match=r"in flight on the way cannot be read any more.*'red'"):
        ValuesDecoder(encoder.types, {}, "the way").decode(recorded)


def test_moments_keep_their_zone_and_their_fold():
    """Of the hour that comes twice it is still known which one it is."""
    berlin = ZoneInfo("Europe/Berlin")
    values = [
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=berlin),
        datetime(2024, 10, 27, 2, 30, tzinfo=berlin),
        time(2, 30, tzinfo=UTC),
        date(2024, 1, 1),
        UUID(int=7),
        Decimal("1.50"),
    ]
    found = _back(values)
    assert found[0].fold == 1
    assert _told(found) == _told(values)
