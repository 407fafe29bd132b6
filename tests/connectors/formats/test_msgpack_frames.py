"""MessagePack payloads."""

import msgspec
from tidegate.connectors import formats


class Point(msgspec.Struct):
    x: int


def test_payloads_come_back():
    """What is encoded decodes to the same."""
    fmt = formats.msgpack(Point)
    assert fmt.decode_messages(fmt.encode_messages([Point(1), Point(2)])).values == [Point(1), Point(2)]


def test_a_bad_payload_leaves_its_neighbours():
    """Wrong types and truncated payloads are reported by index."""
    fmt = formats.msgpack(Point)
    good = fmt.encode_messages([Point(1)])[0]
    decoded = fmt.decode_messages([good, good[:-1], msgspec.msgpack.encode({"x": "a"}), b"", good])
    assert decoded.values == [Point(1), Point(1)]
    assert [bad.start for bad in decoded.undecodable] == [1, 2, 3]
