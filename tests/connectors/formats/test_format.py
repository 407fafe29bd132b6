"""Every format keeps the contract of formats."""

import msgspec
from tidegate.connectors import formats
from tidegate.engine.testing import FormatSuite


class Flight(msgspec.Struct):
    """A record with a text that may hold anything, and a field that may be missing."""

    origin: str
    delay: int | None = None


FLIGHTS = [Flight("JFK", 3), Flight("LGA"), Flight('a "quoted", näme', -7)]


class TestJson(FormatSuite):
    """JSON, one object per payload or line."""

    def format(self):
        return formats.json(Flight)

    def values(self):
        return FLIGHTS

    def bad_payloads(self):
        return [b"{", b'{"origin": 1}', b"[1]", b'{"delay": 2}', b"\xff"]

    def bad_lines(self):
        return [b"{\n", b'{"origin": 1}\n', b'{"origin": "x", "delay": 1e99}\n', b"\xff\xfe\n"]


class TestCsv(FormatSuite):
    """CSV with a header line."""

    def format(self):
        return formats.csv(Flight)

    def values(self):
        return FLIGHTS

    def bad_lines(self):
        return [b"JFK,late\n", b"JFK,1,2\n"]


class TestMsgpack(FormatSuite):
    """msgpack, one map per payload."""

    def format(self):
        return formats.msgpack(Flight)

    def values(self):
        return FLIGHTS

    def bad_payloads(self):
        return [b"", b"\xc1", b"\x81\xa6origin\x01"]


class TestText(FormatSuite):
    """Text, one string per payload or line."""

    def format(self):
        return formats.text()

    def values(self):
        return ["one", "zwei", 'trois, "quatre"']

    def bad_payloads(self):
        return [b"\xff\xfe"]

    def bad_lines(self):
        return [b"\xff\xfe\n"]
