"""JSON that is checked against a schema, bare and with a schema registry."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec
import pytest
from tidegate.connectors import formats
from tidegate.connectors.formats.json_schema import derived
from tidegate.engine.testing.format_suite import FormatSuite, RegisteredFormatSuite


class Leg(msgspec.Struct):
    to: str


class Flight(msgspec.Struct):
    origin: str
    at: datetime
    price: Decimal
    seats: Annotated[int, msgspec.Meta(ge=0)] = 0
    legs: list[Leg] = []
    raw: bytes = b""


class Node(msgspec.Struct):
    next: Node | None = None


FLIGHTS = [
    Flight("JFK", datetime(2026, 1, 2, 3, 4, 5, 6, UTC), Decimal("12.30"), 3, [Leg("LAX")], b"\0\xff"),
    Flight("Zürich", datetime(1, 1, 1, tzinfo=UTC), Decimal("1e-9")),
    Flight("", datetime(9999, 1, 1, tzinfo=UTC), Decimal(-1), 2**62),
]

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Pair",
    "type": "object",
    "required": ["pair"],
    "properties": {"pair": {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}},
    "unevaluatedProperties": False,
}


async def at_once(function, *args):
    """The executor of a connector, without threads."""
    return function(*args)


class TestTyped(FormatSuite):
    """A type, whose own checks are those of its schema."""

    def format(self):
        return formats.json_schema(Flight)

    def values(self):
        return FLIGHTS

    def bad_payloads(self):
        return [b"", b"{", b'{"origin":1}', FLIGHT_TEXT.replace(b'"seats":3', b'"seats":-3'), b"\xff"]


FLIGHT_TEXT = formats.json().encode_messages(FLIGHTS[:1])[0]


class TestSchema(FormatSuite):
    """A schema in the newest draft, and no type."""

    def format(self):
        return formats.json_schema(schema=SCHEMA)

    def values(self):
        return [{"pair": [1, "a"]}, {"pair": []}, {"pair": [-5]}]

    def bad_payloads(self):
        return [b"", b"{}", b"[]", b'{"pair":["a"]}', b'{"pair":[1,"a",2]}', b'{"pair":[],"more":1}', b'{"pair":[1.5]}']


@pytest.mark.slow
class TestTypedWithARegistry(RegisteredFormatSuite):
    """A derived schema."""

    topic = "json-suite"

    @pytest.fixture(autouse=True)
    def _url(self, registry_url):
        self.url = registry_url

    def registered(self):
        return formats.json_schema(Flight, registry=self.url)

    def values(self):
        return FLIGHTS

    def bad_payloads(self):
        return [b"", b"{}", FLIGHT_TEXT, b"\0\x7f\xff\xff\xff{}"]


class TestSchemaWithARegistry(TestTypedWithARegistry):
    """A schema that a person wrote."""

    topic = "json-schema-suite"

    def registered(self):
        return formats.json_schema(schema=json.dumps(SCHEMA), registry=self.url)

    def values(self):
        return [{"pair": [1, "a"]}, {"pair": []}, {"pair": [-5]}]


def test_a_derived_schema_has_the_type_at_its_top():
    """There registries look for title and fields; a type that contains itself is a definition too."""
    schema = derived(Flight)
    assert (schema["title"], schema["type"], schema["required"]) == ("Flight", "object", ["origin", "at", "price"])
    assert schema["$defs"] == {
        "Leg": {"title": "Leg", "type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
    }
    assert (derived(Node)["title"], derived(Node)["$defs"].keys()) == ("Node", {"Node"})
    assert derived(tuple[int, str])["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert derived(list[int]) == {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": {"type": "integer"},
    }


def test_a_reason_says_where_and_why():
    """The place in the value, and what is wrong there."""
    fmt = formats.json_schema(schema=SCHEMA)
    reasons = [bad.reason for bad in fmt.decode_messages([b'{"pair":[1,2]}', b"{}"]).undecodable]
    assert reasons == ['2 is not of type "string", at `$.pair[1]`', '"pair" is a required property, at `$`']


def test_what_is_written_is_checked_against_a_given_schema():
    """A value that breaks it is refused; without validation it is not looked at."""
    with pytest.raises(ValueError, match=r"at `\$\.pair\[0\]`"):
        formats.json_schema(schema=SCHEMA).encode_messages([{"pair": []}, {"pair": ["a"]}])
    careless = formats.json_schema(schema=SCHEMA, validate=False)
    assert careless.decode_messages(careless.encode_messages([{"pair": ["a"]}])).values == [{"pair": ["a"]}]


async def test_a_producer_is_held_to_the_schema_that_it_names(scripted):
    """Also where the type would take the value; unless validation is turned off."""
    writer = {"type": "object", "properties": {"origin": {"maxLength": 3}}}
    scripted.answers["GET /schemas/ids/1"] = 200, {"schema": json.dumps(writer), "schemaType": "JSON"}
    Origin = msgspec.defstruct("Origin", [("origin", str), ("seats", int, 5)])
    payloads = [b'\0\0\0\0\1{"origin":"JFK"}', b'\0\0\0\0\1{"origin":"Newark"}', b'\0\0\0\0\1{"origin":1}']
    fmt = formats.json_schema(Origin, registry=scripted.url)
    await fmt.prepare_decode(payloads, at_once)
    decoded = fmt.decode_messages(payloads)
    assert decoded.values == [Origin("JFK", 5)]
    assert [bad.reason for bad in decoded.undecodable] == [
        '"Newark" is longer than 3 characters, at `$.origin`',
        "Expected `str`, got `int` - at `$.origin`",
    ]
    fmt = formats.json_schema(Origin, validate=False, registry=scripted.url)
    await fmt.prepare_decode(payloads, at_once)
    assert fmt.decode_messages(payloads).values == [Origin("JFK", 5), Origin("Newark", 5)]


async def test_schemas_that_a_schema_imports_are_used_and_no_others(scripted):
    """References of the registry are followed; nothing is ever fetched from elsewhere."""
    scripted.answers |= {
        "GET /schemas/ids/1": (
            200,
            {
                "schema": '{"properties": {"leg": {"$ref": "leg.json"}}}',
                "schemaType": "JSON",
                "references": [{"name": "leg.json", "subject": "leg", "version": 1}],
            },
        ),
        "GET /subjects/leg/versions/1": (200, {"schema": '{"type": "string"}', "schemaType": "JSON"}),
        "GET /schemas/ids/2": (200, {"schema": json.dumps({"$ref": f"{scripted.url}/leg.json"}), "schemaType": "JSON"}),
    }
    fmt = formats.json_schema(registry=scripted.url)
    payloads = [b'\0\0\0\0\1{"leg":"LAX"}', b'\0\0\0\0\1{"leg":1}', b"\0\0\0\0\2{}"]
    await fmt.prepare_decode(payloads, at_once)
    decoded = fmt.decode_messages(payloads)
    assert decoded.values == [{"leg": "LAX"}]
    assert [bad.reason.split(":")[0] for bad in decoded.undecodable] == [
        '1 is not of type "string", at `$.leg`',
        "schema 2 cannot be used",
    ]
    assert "GET /leg.json" not in scripted.asked


@pytest.mark.parametrize("schema", ["[", '{"type": "no such"}', {"properties": 7}, {"$ref": "http://127.0.0.1:1/x"}])
def test_a_wrong_schema_is_refused_at_once(schema):
    """When the format is described."""
    with pytest.raises(ValueError, match="no JSON"):
        formats.json_schema(schema=schema)


def test_something_must_say_what_is_allowed():
    """For any JSON there is another format."""
    with pytest.raises(ValueError, match=r"there is json\(\)"):
        formats.json_schema()
