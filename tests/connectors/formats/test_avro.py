"""Avro payloads, bare and with a schema registry."""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from tidegate.connectors import formats
from tidegate.connectors.formats.avro_schema import schema_of
from tidegate.engine.testing.format_suite import FormatSuite, RegisteredFormatSuite

Money = Annotated[
    Decimal,
    msgspec.Meta(extra={"avro": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}),
]


class Color(enum.Enum):
    RED = "RED"
    BLUE = "BLUE"


class Leg(msgspec.Struct):
    to: str
    then: Leg | None = None


class Flight(msgspec.Struct):
    origin: str
    at: datetime
    day: date
    local: time
    id: uuid.UUID
    price: Money
    color: Color
    gate: Literal["A", "B"]
    leg: Leg
    raw: bytes
    legs: list[Leg] = []
    seats: dict[str, float] = {}
    note: int | str | None = None
    delay: float | None = None
    n: int = 3
    tags: set[int] = set()


FLIGHTS = [
    Flight(
        "JFK",
        datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        date(2026, 1, 2),
        time(1, 2, 3, 4),
        uuid.UUID(int=5),
        Decimal("12.34"),
        Color.RED,
        "A",
        Leg("LAX", Leg("SFO")),
        b"\0\xff",
        [Leg("z")],
        {"a": 1.5},
        "note",
        2.5,
        -(2**63),
        {1, 2},
    ),
    Flight(
        "Zürich",
        datetime(1969, 12, 31, tzinfo=UTC),
        date(1, 1, 1),
        time(0),
        uuid.UUID(int=2**128 - 1),
        Decimal("-0.01"),
        Color.BLUE,
        "B",
        Leg(""),
        b"",
    ),
    Flight(
        "", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), date.max, time.max, uuid.UUID(int=0), Decimal(0),
        Color.RED, "A", Leg("x"), b"x", note=7,
    ),
]  # fmt: skip


class TestBare(FormatSuite):
    """Every type that a field may have."""

    def format(self):
        return formats.avro(Flight)

    def values(self):
        return FLIGHTS

    def bad_payloads(self):
        return [b"", b"\x06JF", b"\xff" * 20, formats.avro(Flight).encode_messages(FLIGHTS[:1])[0] + b"\0"]


class TestOneValue(FormatSuite):
    """A type that is no record: what keys are."""

    def format(self):
        return formats.avro(str)

    def values(self):
        return ["a", "", "Zürich"]

    def bad_payloads(self):
        return [b"\x04a", b"\x02\xff", b"\2ab"]


class TestDicts(FormatSuite):
    """A schema and no type."""

    def format(self):
        fields = [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]
        return formats.avro(schema=json.dumps({"type": "record", "name": "R", "fields": fields}))

    def values(self):
        return [{"at": datetime(2026, 1, day, tzinfo=UTC)} for day in (1, 2, 3)]


@pytest.mark.slow
class TestWithARegistry(RegisteredFormatSuite):
    """The same records, each with its schema's id in front."""

    topic = "avro-suite"

    @pytest.fixture(autouse=True)
    def _url(self, registry_url):
        self.url = registry_url

    def registered(self):
        return formats.avro(Flight, namespace="com.acme", registry=self.url)

    def values(self):
        return FLIGHTS

    def bad_payloads(self):
        return [b"", b"\0\0\0", b'{"origin": "JFK"}', b"\0\x7f\xff\xff\xff\2"]


class Bit(enum.IntEnum):
    OFF = 0
    ON = 1


@dataclasses.dataclass
class Data:
    n: int


class Typed(TypedDict):
    x: float


class All(msgspec.Struct, rename="camel", tag="all"):
    the_name: str
    a: bool = True
    b: str | None = "x"
    c: int | None = None
    d: tuple[int, ...] = ()
    e: Bit = Bit.ON
    f: Color = Color.RED
    g: Data | None = None
    h: Typed | None = None
    i: bytes = b"\xff"
    j: frozenset[str] = frozenset()
    k: Literal[1, None] = 1


def test_a_schema_is_derived_from_a_type():
    """What becomes of each kind of field, with the defaults that JSON can say."""

    assert schema_of(All, "com.acme") == {
        "type": "record",
        "name": "All",
        "namespace": "com.acme",
        "fields": [
            {"name": "type", "type": "string", "default": "all"},
            {"name": "theName", "type": "string"},
            {"name": "a", "type": "boolean", "default": True},
            {"name": "b", "type": ["string", "null"], "default": "x"},
            {"name": "c", "type": ["null", "long"], "default": None},
            {"name": "d", "type": {"type": "array", "items": "long"}, "default": []},
            {"name": "e", "type": "long", "default": 1},
            {
                "name": "f",
                "type": {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"], "namespace": "com.acme"},
                "default": "RED",
            },
            {
                "name": "g",
                "type": [
                    "null",
                    {
                        "type": "record",
                        "name": "Data",
                        "fields": [{"name": "n", "type": "long"}],
                        "namespace": "com.acme",
                    },
                ],
                "default": None,
            },
            {
                "name": "h",
                "type": [
                    "null",
                    {
                        "type": "record",
                        "name": "Typed",
                        "fields": [{"name": "x", "type": "double"}],
                        "namespace": "com.acme",
                    },
                ],
                "default": None,
            },
            {"name": "i", "type": "bytes"},
            {"name": "j", "type": {"type": "array", "items": "string"}, "default": []},
            {"name": "k", "type": ["long", "null"], "default": 1},
        ],
    }
    assert formats.avro(All).decode_messages(formats.avro(All).encode_messages([All("n")])).values == [All("n")]


class Inner(msgspec.Struct):
    price: Decimal


class Listed(msgspec.Struct, array_like=True):
    a: int


@pytest.mark.parametrize(
    ("type_", "says"),
    [
        (Decimal, "R.x: a Decimal needs a precision"),
        (list[Inner], r"R.x\[\].price: a Decimal"),
        (dict[str, Inner | None], r"R.x\{\}.price: a Decimal"),
        (Any, "R.x: Avro has nothing for Any"),
        (timedelta, "R.x: Avro has nothing for TimeDelta"),
        (dict[int, str], "R.x: keys of an Avro map are strings"),
        (list[int] | dict[str, int], "R.x: Avro cannot tell the branches"),
        (tuple[int, str], "R.x: Avro has nothing for Tuple"),
        (Listed, "R.x: Listed is array_like"),
    ],
    ids=str,
)
def test_what_avro_has_no_word_for_is_refused_with_the_field(type_, says):
    """When the format is described, before anything runs."""
    with pytest.raises(ValueError, match=says):
        formats.avro(msgspec.defstruct("R", [("x", type_)]))


def test_two_types_of_one_name_are_refused():
    """An Avro schema can define a name once."""
    first, second = (msgspec.defstruct("Leg", [("x", kind)]) for kind in (int, str))
    with pytest.raises(ValueError, match=r"R\.b: two types are called 'Leg'"):
        formats.avro(msgspec.defstruct("R", [("a", first), ("b", second)]))


@pytest.mark.parametrize("schema", ['{"type": "record"}', {"type": "no such"}, "[", 7])
def test_a_wrong_schema_is_refused_at_once(schema):
    """When the format is described."""
    with pytest.raises(ValueError, match="it is no Avro schema"):
        formats.avro(schema=schema)


def test_bare_payloads_need_a_schema():
    """They do not say what they hold."""
    with pytest.raises(ValueError, match="give a type, a schema or a registry"):
        formats.avro()


@pytest.mark.parametrize(
    "value", [{"a": "x"}, {"a": 1, "typo": 2}, {}, {"a": 2**63}, {"a": 1, "b": 5}, 7, None], ids=repr
)
def test_a_value_that_does_not_fit_is_refused(value):
    """An unknown field too: it would be lost in silence."""
    fields = [{"name": "a", "type": "long"}, {"name": "b", "type": ["null", "string"], "default": None}]
    fmt = formats.avro(schema={"type": "record", "name": "R", "fields": fields})
    with pytest.raises((TypeError, ValueError, OverflowError)):
        fmt.encode_messages([{"a": 1}, value])


# --- evolution: written in one schema, read in another


def record(*fields: dict[str, Any], name: str = "Flight") -> dict[str, Any]:
    """A record's schema."""
    return {"type": "record", "name": name, "fields": list(fields)}


async def read(scripted, fmt, writer, values):
    """What a reader makes of values that were written in a schema of the registry."""
    scripted.answers["GET /schemas/ids/1"] = 200, {"schema": json.dumps(writer)}
    payloads = [b"\0\0\0\0\1" + payload for payload in formats.avro(schema=writer).encode_messages(values)]

    async def at_once(function, *args):
        return function(*args)

    await fmt.prepare_decode(payloads, at_once)
    return fmt.decode_messages(payloads)


class Small(msgspec.Struct):
    n: float
    at_ms: int
    label: str = "none"


STAMP = {"type": "long", "logicalType": "timestamp-millis"}


async def test_a_type_takes_from_what_was_written_what_it_has(scripted):
    """Fields that it lacks are left out, those that were not written have its defaults, integers become floats, and
    times become numbers where numbers are wanted. The record's name does not matter."""
    writer = record(
        {"name": "gone", "type": {"type": "array", "items": "string"}},
        {"name": "n", "type": "int"},
        {"name": "at_ms", "type": ["null", STAMP]},
        name="com.acme.Written",
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    decoded = await read(
        scripted,
        formats.avro(Small, registry=scripted.url),
        writer,
        [{"gone": ["a"], "n": 1, "at_ms": at}, {"gone": [], "n": 2, "at_ms": None}],
    )
    assert decoded.values == [Small(1.0, 1767225600000)]
    assert [bad.reason for bad in decoded.undecodable] == ["Expected `int`, got `null` - at `$.at_ms`"]


async def test_a_readers_schema_resolves_as_avro_says(scripted):
    """Aliases, defaults and promotions of the schema."""
    writer = record({"name": "old", "type": "int"}, {"name": "gone", "type": "string"})
    reader = record(
        {"name": "new", "type": "double", "aliases": ["old"]}, {"name": "added", "type": "string", "default": "x"}
    )
    values = [{"old": 1, "gone": "a"}]
    decoded = await read(scripted, formats.avro(schema=reader, registry=scripted.url), writer, values)
    assert decoded.values == [{"new": 1.0, "added": "x"}]
    New = msgspec.defstruct("New", [("new", float), ("added", str)])
    decoded = await read(scripted, formats.avro(New, schema=reader, registry=scripted.url), writer, values)
    assert decoded.values == [New(1.0, "x")]


async def test_schemas_that_cannot_be_resolved_make_bad_records(scripted):
    """A field without a default that was not written, by the type or by the schema."""
    writer = record({"name": "n", "type": "int"})
    reader = record({"name": "m", "type": "int"})
    decoded = await read(scripted, formats.avro(Small, registry=scripted.url), writer, [{"n": 1}])
    assert [bad.reason for bad in decoded.undecodable] == ["Object missing required field `at_ms`"]
    decoded = await read(scripted, formats.avro(schema=reader, registry=scripted.url), writer, [{"n": 1}])
    assert ["No default value for field m" in bad.reason for bad in decoded.undecodable] == [True]


async def test_logical_types_come_as_python_types_where_none_is_asked_for(scripted):
    """And `timestamp-millis` as a datetime where a datetime is asked for."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    writer = record({"name": "at", "type": STAMP})
    decoded = await read(scripted, formats.avro(registry=scripted.url), writer, [{"at": at}])
    assert decoded.values == [{"at": at}]
    At = msgspec.defstruct("At", [("at", datetime)])
    decoded = await read(scripted, formats.avro(At, registry=scripted.url), writer, [{"at": at}])
    assert decoded.values == [At(at)]


async def test_records_that_a_schema_imports_are_known(scripted):
    """By reference, as a union of several event types in one topic."""
    scripted.answers |= {
        "GET /schemas/ids/2": (
            200,
            {
                "schema": '["a.One", "a.Two"]',
                "references": [{"name": f"a.{name}", "subject": name, "version": 1} for name in ("One", "Two")],
            },
        ),
        "GET /subjects/One/versions/1": (
            200,
            {"schema": json.dumps(record({"name": "x", "type": "long"}, name="a.One"))},
        ),
        "GET /subjects/Two/versions/1": (
            200,
            {"schema": json.dumps(record({"name": "y", "type": "a.One"}, name="a.Two"))},
        ),
    }

    async def at_once(function, *args):
        return function(*args)

    fmt = formats.avro(registry=scripted.url)
    payloads = [b"\0\0\0\0\2\0\2", b"\0\0\0\0\2\2\4"]
    await fmt.prepare_decode(payloads, at_once)
    decoded = fmt.decode_messages(payloads)
    assert (decoded.values, decoded.undecodable) == ([{"x": 1}, {"y": {"x": 2}}], [])


async def test_payloads_of_confluents_own_client_are_read(scripted):
    """Bytes that its Avro serializer wrote, with the schema that it registered."""
    schema = '{"fields": [{"name": "a", "type": "long"}, {"default": null, "name": "b", "type": ["null", "string"]}], '
    scripted.answers["GET /schemas/ids/15"] = 200, {"schema": f'{schema}"name": "F", "type": "record"}}'}
    F = msgspec.defstruct("F", [("a", int), ("b", str | None, None)])
    fmt = formats.avro(F, registry=scripted.url)
    payloads = [bytes.fromhex("000000000f02020278")]

    async def at_once(function, *args):
        return function(*args)

    await fmt.prepare_decode(payloads, at_once)
    assert fmt.decode_messages(payloads).values == [F(1, "x")]
