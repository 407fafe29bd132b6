"""Protobuf payloads, bare and with a schema registry."""

from __future__ import annotations

import base64

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from tidegate.connectors import formats
from tidegate.connectors.formats.format import BadPayloadError
from tidegate.connectors.formats.protobuf_file import decode_indexes, encode_indexes, indexes_of, messages_of
from tidegate.connectors.formats.schema_registry import SchemaRegistry
from tidegate.engine.testing.format_suite import FormatSuite, RegisteredFormatSuite

PLACE_PROTO = """
// message Comment { }
syntax = "proto3";
package acme.geo;
/* message Comment { } */
message Place { string name = 1; }
"""

ORDER_PROTO = """
syntax = "proto3";
package acme;
import "google/protobuf/timestamp.proto";
import "acme/place.proto";
option java_package = "message Option { }";
enum Kind { SMALL = 0; BIG = 1; }
message Order {
  map<string, int32> counts = 1;
  message Line { string message = 1; oneof which { int32 a = 2; int32 b = 3; } message Deep { int32 x = 1; } }
  repeated Line lines = 2;
  google.protobuf.Timestamp at = 3;
  acme.geo.Place place = 4;
  message Note { string text = 1; }
}
message Refund { int64 id = 1; Kind kind = 2; }
service Shop { rpc message (Order) returns (Refund) { } }
"""


def _file(name, package, *messages, imports=(), syntax="proto3"):
    file = descriptor_pb2.FileDescriptorProto(name=name, package=package, dependency=imports, syntax=syntax)
    file.message_type.extend(messages)
    return file


def _message(name, *fields, nested=(), entry=False):
    message = descriptor_pb2.DescriptorProto(name=name, nested_type=nested)
    if entry:
        message.options.map_entry = True
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, (field, kind, label) in enumerate(fields, 1):
        added = message.field.add(name=field, number=number, label=kinds.Label.Value(f"LABEL_{label}"))
        if kind[0] == ".":
            added.type, added.type_name = kinds.TYPE_MESSAGE, kind
        else:
            added.type = kinds.Type.Value(f"TYPE_{kind}")
    return message


def _classes():
    """The classes that protoc generates for the two files, without protoc."""
    pool = descriptor_pool.DescriptorPool()
    stamp = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    line = _message("Line", ("message", "STRING", "OPTIONAL"), nested=[_message("Deep", ("x", "INT32", "OPTIONAL"))])
    order = _message(
        "Order",
        ("counts", ".acme.Order.CountsEntry", "REPEATED"),
        ("lines", ".acme.Order.Line", "REPEATED"),
        ("at", ".google.protobuf.Timestamp", "OPTIONAL"),
        ("place", ".acme.geo.Place", "OPTIONAL"),
        nested=[
            _message("CountsEntry", ("key", "STRING", "OPTIONAL"), ("value", "INT32", "OPTIONAL"), entry=True),
            line,
            _message("Note", ("text", "STRING", "OPTIONAL")),
        ],
    )
    pool.Add(stamp)
    pool.Add(_file("acme/place.proto", "acme.geo", _message("Place", ("name", "STRING", "OPTIONAL"))))
    pool.Add(
        _file(
            "acme/order.proto",
            "acme",
            order,
            _message("Refund", ("id", "INT64", "OPTIONAL")),
            imports=["google/protobuf/timestamp.proto", "acme/place.proto"],
        )
    )
    pool.Add(_file("old.proto", "", _message("Old", ("id", "INT64", "REQUIRED")), syntax="proto2"))
    names = ("acme.Order", "acme.Order.Line", "acme.Order.Line.Deep", "acme.Order.Note", "acme.Refund", "Old")
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


Order, Line, Deep, Note, Refund, Old = _classes()


def orders():
    """Messages with every kind of field."""
    order = Order(counts={"a": 1}, lines=[Line(message="x")])
    order.at.seconds = 5
    order.place.name = "Oslo"
    return [order, Order(), Order(lines=[Line(), Line(message="ü")])]


async def at_once(function, *args):
    """The executor of a connector, without threads."""
    return function(*args)


class TestBare(FormatSuite):
    """Messages as they are."""

    def format(self):
        return formats.protobuf(Order)

    def values(self):
        return orders()

    def bad_payloads(self):
        return [b"\x0a\x7f", b"\xff", b"\x12\x03\x0a\x01\xff"]


@pytest.mark.slow
class TestWithARegistry(RegisteredFormatSuite):
    """The first message of a file, which has the shortest index, with what it imports."""

    topic = "protobuf-suite"

    @pytest.fixture(autouse=True)
    def _url(self, registry_url):
        self.url = registry_url

    def registered(self):
        return formats.protobuf(Order, registry=self.url)

    def values(self):
        return orders()

    def bad_payloads(self):
        return [b"", b"\0", b"\0\x7f\xff\xff\xff\0", b"\1\0\0\0\1\0"]


class TestNested(TestWithARegistry):
    """A message in a message in a message."""

    topic = "protobuf-nested-suite"

    def registered(self):
        return formats.protobuf(Deep, registry=self.url)

    def values(self):
        return [Deep(x=1), Deep(), Deep(x=-1)]


ORDER_NAMES = {
    (0,): "acme.Order",
    (0, 0): "acme.Order.Line",
    (0, 0, 0): "acme.Order.Line.Deep",
    (0, 1): "acme.Order.Note",
    (1,): "acme.Refund",
}


def test_the_messages_of_a_file_are_known_by_their_place():
    """From its text, its descriptor and the generated classes alike; entries of maps do not count."""
    assert messages_of(ORDER_PROTO) == ORDER_NAMES
    assert messages_of(base64.b64encode(Order.DESCRIPTOR.file.serialized_pb).decode()) == ORDER_NAMES
    assert {
        indexes_of(cls.DESCRIPTOR): cls.DESCRIPTOR.full_name for cls in (Order, Line, Deep, Note, Refund)
    } == ORDER_NAMES
    assert messages_of(PLACE_PROTO) == {(0,): "acme.geo.Place"}
    assert messages_of("message A { optional group B = 1 { message C {} } message D {} }") == {
        (0,): "A",
        (0, 0): "A.B",
        (0, 0, 0): "A.B.C",
        (0, 1): "A.D",
    }


@pytest.mark.parametrize(
    ("indexes", "encoded"),
    [((0,), b"\0"), ((1,), b"\2\2"), ((0, 0), b"\4\0\0"), ((2, 64, 300), b"\6\4\x80\1\xd8\4")],
)
def test_indexes_are_zigzag_varints_with_a_short_form_for_the_first_message(indexes, encoded):
    """As every client of Confluent's protocol writes them; the long form of the first is read too."""
    assert encode_indexes(indexes) == encoded
    assert decode_indexes(b"head" + encoded + b"rest", 4) == (indexes, 4 + len(encoded))
    assert decode_indexes(b"\2\0rest", 0) == ((0,), 2)


@pytest.mark.parametrize("payload", [b"", b"\2", b"\x80", b"\xff\xff\xff\xff\x0f\0", b"\1\0", b"\2\1"])
def test_damaged_indexes_are_refused(payload):
    """Cut off, negative, or more than there can be."""
    with pytest.raises(BadPayloadError):
        decode_indexes(payload, 0)


async def test_another_message_of_the_file_is_a_bad_record(scripted):
    """It is named, and not taken for something that it is not."""
    scripted.answers["GET /schemas/ids/1"] = 200, {"schema": ORDER_PROTO, "schemaType": "PROTOBUF"}
    fmt = formats.protobuf(Refund, registry=scripted.url)
    refund = b"\0\0\0\0\1\2\2" + Refund(id=7).SerializeToString()
    order = b"\0\0\0\0\1\0" + orders()[0].SerializeToString()
    payloads = [refund, order, b"\0\0\0\0\1\2\x10", refund]
    await fmt.prepare_decode(payloads, at_once)
    decoded = fmt.decode_messages(payloads)
    assert decoded.values == [Refund(id=7), Refund(id=7)]
    assert [(bad.start, bad.reason) for bad in decoded.undecodable] == [
        (1, "the message is acme.Order, not acme.Refund"),
        (2, "the message is none of its schema, not acme.Refund"),
    ]


async def test_payloads_of_confluents_own_client_are_read(scripted):
    """Bytes that its serializer wrote, for messages like these; it counts the entries of maps."""
    scripted.answers["GET /schemas/ids/5"] = 200, {"schema": ORDER_PROTO, "schemaType": "PROTOBUF"}
    for cls, value, payload in (
        (Order, Order(counts={"a": 1}), "0000000005000a050a01611001"),
        (Refund, Refund(id=2), "000000000502020802"),
        (Note, Note(text="a"), "00000000050400040a0161"),
        (Note, Note(text="a"), "00000000050400020a0161"),
    ):
        fmt = formats.protobuf(cls, registry=scripted.url)
        await fmt.prepare_decode([bytes.fromhex(payload)], at_once)
        decoded = fmt.decode_messages([bytes.fromhex(payload)])
        assert (decoded.values, decoded.undecodable) == ([value], [])


@pytest.mark.parametrize("value", [Refund(id=1), {"id": 1}, None, b""], ids=repr)
def test_only_messages_of_the_class_are_written(value):
    """Others are refused with both names."""
    with pytest.raises(TypeError, match=rf"protobuf\(Order\) cannot write a {type(value).__name__}"):
        formats.protobuf(Order).encode_messages([Order(), value])


def test_a_message_without_a_required_field_is_refused():
    """Where it is written; the old syntax knows such fields."""
    with pytest.raises(ValueError, match="id"):
        formats.protobuf(Old).encode_messages([Old()])


@pytest.mark.parametrize("wrong", [dict, Order(), None, "acme.Order"], ids=["dict", "a message", "None", "a name"])
def test_only_message_classes_are_taken(wrong):
    """Said when the format is described."""
    with pytest.raises(ValueError, match="no generated message class"):
        formats.protobuf(wrong)
    with pytest.raises(ValueError, match=r"the schema has no message acme\.Order"):
        formats.protobuf(Order, schema=PLACE_PROTO)


@pytest.mark.slow
async def test_what_a_file_imports_is_registered_before_it(registry_url):
    """Under the names by which it is imported, so that other clients find it."""
    registry = SchemaRegistry(registry_url)
    fmt = formats.protobuf(Order, registry=registry).for_topic("protobuf-imports", "value")
    await fmt.prepare_encode(at_once)
    payload = fmt.encode_messages([Order()])[0]
    assert payload[5:] == b"\0"
    schema = SchemaRegistry(registry_url).fetch(int.from_bytes(payload[1:5], "big"))
    assert [reference.name for reference in schema.references] == ["acme/place.proto"]
    assert [(name, list(messages_of(text).values())) for name, text in schema.imports] == [
        ("acme/place.proto", ["acme.geo.Place"])
    ]


@pytest.mark.slow
async def test_the_text_of_the_file_may_be_registered(registry_url):
    """It is what other clients and people read."""
    fmt = formats.protobuf(Refund, schema=ORDER_PROTO, registry=registry_url).for_topic("protobuf-text", "value")
    await fmt.prepare_encode(at_once)
    payload = fmt.encode_messages([Refund(id=1)])[0]
    assert payload[5:] == b"\2\2\x08\1"
    assert SchemaRegistry(registry_url).latest("protobuf-text-value")[1].text == ORDER_PROTO
