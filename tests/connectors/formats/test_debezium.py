"""Debezium's messages: changes of a database's rows, as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import json

import msgspec
import pytest
from tidegate.connectors import formats
from tidegate.engine.testing.format_suite import FormatSuite
from tidegate.operators.changes import Change, ChangeKind


class Order(msgspec.Struct, frozen=True):
    """A row of these tests."""

    id: int
    status: str | None = None


def changed(kind: str, row: object) -> Change[object]:
    return Change(ChangeKind(kind), row)


class TestDebezium(FormatSuite):
    """The format does what every format must do. An update is read as it is written only side by side."""

    def format(self):
        return formats.debezium(Order)

    def values(self):
        return [changed("+I", Order(1, "open")), changed("+U", Order(1)), changed("-D", Order(2, "ü\n"))]

    def bad_payloads(self):
        return [b"", b"{", b"[]", b"{}", b'{"op":"t"}', b'{"op":"d"}', b'{"op":"c","after":{"id":"x"}}']

    def bad_lines(self):
        return [b"{\n", b'{"op":"x","after":{"id":1}}\n']


class TestDebeziumWithSchema(TestDebezium):
    """The same in the wrapper of Kafka Connect."""

    def format(self):
        return formats.debezium(Order, schema=True)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"op": "c", "before": None, "after": {"id": 1}}, [("+I", 1)]),
        ({"op": "r", "after": {"id": 1}, "source": {"snapshot": "true"}, "ts_ms": 5}, [("+I", 1)]),
        ({"op": "u", "before": {"id": 1}, "after": {"id": 2}}, [("-U", 1), ("+U", 2)]),
        ({"op": "u", "before": None, "after": {"id": 2}}, [("+U", 2)]),
        ({"op": "d", "before": {"id": 1}, "after": None}, [("-D", 1)]),
        ({"schema": {"type": "struct"}, "payload": {"op": "d", "before": {"id": 1}, "after": None}}, [("-D", 1)]),
        (None, []),
    ],
)
def test_a_message_says_what_has_happened_to_a_row(message, wanted):
    """With and without the wrapper, in payloads and in lines."""
    payload = json.dumps(message).encode()
    fmt = formats.debezium(Order)
    for decoded in (fmt.decode_messages([payload]), fmt.decode_lines(payload + b"\r\n")):
        assert decoded.undecodable == []
        assert [(change.kind.value, change.value.id) for change in decoded.values] == wanted
        assert list(decoded.starts) == [0] * len(wanted)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"op":"t"}', "op 't' tells of no row"),
        (b'{"op":"d","before":null}', "op 'd' without 'before': have the database log whole rows"),
        (b'{"op":"u","before":{"id":1}}', "op 'u' without 'after'"),
        (b'{"id":1}', "no 'op'"),
        (b'{"op":"c","after":{}}', "missing required field `id`"),
    ],
)
def test_a_message_that_tells_of_no_row_is_a_bad_record(payload, reason):
    """Its reason says what is missing."""
    (bad,) = formats.debezium(Order).decode_messages([payload]).undecodable
    assert reason in bad.reason


def test_positions_name_the_message_of_each_change():
    """Both halves of an update stand where it stood."""
    update = b'{"op":"u","before":{"id":1},"after":{"id":2}}'
    decoded = formats.debezium(Order).decode_messages([b"null", update, b"x", update])
    assert list(decoded.starts) == [1, 1, 3, 3]
    assert [bad.start for bad in decoded.undecodable] == [2]
    lines = formats.debezium(Order).decode_lines(update + b"\n\n" + update)
    assert list(lines.starts) == [0, 0, len(update) + 2, len(update) + 2]


def test_what_is_written_is_what_a_reader_by_key_needs():
    """An update alone is an upsert; the row before it, where it is sent, a deletion."""
    written = formats.debezium(Order).encode_messages([changed(kind, Order(1)) for kind in ("+I", "-U", "+U", "-D")])
    row = {"id": 1, "status": None}
    assert [json.loads(message) for message in written] == [
        {"before": None, "after": row, "op": "c"},
        {"before": row, "after": None, "op": "d"},
        {"before": None, "after": row, "op": "u"},
        {"before": row, "after": None, "op": "d"},
    ]
    with pytest.raises(TypeError, match="to_changes"):
        formats.debezium(Order).encode_messages([Order(1)])


@dataclasses.dataclass
class Everything:
    """A row with each type that can be described."""

    flag: bool
    n: int
    x: float | None
    raw: bytes
    at: datetime.datetime
    tags: list[str]
    counts: dict[str, int]
    order: Order


def test_the_schema_describes_the_rows():
    """As Kafka Connect's JsonConverter reads it."""
    row = Everything(True, 1, None, b"a", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), ["a"], {"b": 2}, Order(3))
    fmt = formats.debezium(Everything, schema=True)
    (payload,) = fmt.encode_messages([changed("+I", row)])
    assert fmt.decode_messages([payload]).values == [changed("+I", row)]
    schema = json.loads(payload)["schema"]
    before, after, op = schema["fields"]
    assert (schema["name"], before["optional"], after["field"], op["field"]) == (
        "Everything.Envelope",
        True,
        "after",
        "op",
    )
    assert [(field["field"], field["type"], field["optional"]) for field in after["fields"]] == [
        ("flag", "boolean", False),
        ("n", "int64", False),
        ("x", "double", True),
        ("raw", "bytes", False),
        ("at", "string", False),
        ("tags", "array", False),
        ("counts", "map", False),
        ("order", "struct", False),
    ]


@pytest.mark.parametrize(
    ("type_", "message"),
    [
        (None, "describes a type"),
        (int, "rows with fields"),
        (type("Odd", (msgspec.Struct,), {"__annotations__": {"a": set}}), "Odd.a cannot"),
    ],
)
def test_what_cannot_be_described_is_refused(type_, message):
    """When the format is made."""
    with pytest.raises(ValueError, match=message):
        formats.debezium(type_, schema=True)
