"""What every format must do, as tests: subclass `FormatSuite`, say which format and which records, and run it.

class TestMyFormat(FormatSuite):
    def format(self): return my_format(Flight)
    def values(self): return [Flight("JFK", 3), Flight("LGA", None)]
    def bad_payloads(self): return [b"{", b""]
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ...connectors.formats.format import Decoded, Format, RegisteredFormat


class FormatSuite(ABC):
    """What holds for every format: nothing is lost, and a bad record costs its neighbours nothing."""

    @abstractmethod
    def format(self) -> Format[Any]:
        """A new description of the same format."""

    @abstractmethod
    def values(self) -> Sequence[Any]:
        """At least three records that can be compared with ==, as different as they may be."""

    def bad_payloads(self) -> Sequence[bytes]:
        """Payloads that are no record; none for a format that takes every payload."""
        return ()

    def bad_lines(self) -> Sequence[bytes]:
        """Lines, each with its newline, that are no record; for a format of lines."""
        return ()

    def test_the_description_answers_what_a_plan_asks(self) -> None:
        """A type or None, a suffix for file names, and one line of text."""
        fmt = self.format()
        assert fmt.suffix.startswith("."), "suffix must be the end of a file name, such as '.jsonl'"
        assert fmt.describe().strip(), "describe() must say what it is"
        assert "\n" not in fmt.describe(), "describe() must fit on one line"
        assert hasattr(fmt, "type"), "type must be the type of the records, or None"

    def test_payloads_come_back_as_they_went(self) -> None:
        """Each record alone, and all together."""
        fmt, values = self.format(), list(self.values())
        payloads = fmt.encode_messages(values)
        assert len(payloads) == len(values), "encode_messages must give one payload per value"
        assert fmt.decode_messages(payloads).values == values
        for payload, value in zip(payloads, values, strict=True):
            assert fmt.decode_messages([payload]).values == [value]

    def test_a_bad_payload_is_reported_and_its_neighbours_are_kept(self) -> None:
        """Wherever it stands; with its index, its bytes and a reason."""
        fmt, values = self.format(), list(self.values())
        good = fmt.encode_messages(values)
        for bad in self.bad_payloads():
            for place in range(len(good) + 1):
                decoded = fmt.decode_messages([*good[:place], bad, *good[place:]])
                assert decoded.values == values, f"{bad!r} at {place} took its neighbours with it"
                _check_report(decoded, place, bad)

    def test_lines_come_back_as_they_went_wherever_a_block_is_cut(self) -> None:
        """A block may end after any line; what is `unfinished` is given again with more behind it."""
        for lines, fmt, values in self._lines():
            assert fmt.decode_lines(lines, True).values == values
            ends = [i + 1 for i, byte in enumerate(lines) if byte == 0x0A]
            for end in ends[:-1]:
                first = fmt.decode_lines(lines[:end], False)
                rest = fmt.decode_lines(lines[end - first.unfinished :], True)
                assert first.values + rest.values == values, f"a cut at byte {end} changes the records"

    def test_a_bad_line_is_reported_and_its_neighbours_are_kept(self) -> None:
        """Wherever it stands; with the byte at which it begins."""
        for lines, fmt, values in self._lines():
            ends = [0, *[i + 1 for i, byte in enumerate(lines) if byte == 0x0A]]
            if len(ends) != len(values) + 1:
                continue  # records that span lines have no place between lines that is sure to be between records
            for bad in self.bad_lines():
                for end in ends:
                    decoded = fmt.decode_lines(lines[:end] + bad + lines[end:], True)
                    assert decoded.values == values, f"{bad!r} at byte {end} took its neighbours with it"
                    _check_report(decoded, end, bad.rstrip(b"\r\n"))

    def _lines(self) -> list[tuple[bytes, Any, list[Any]]]:
        """The records as lines, with the format that reads them; nothing for a format without lines."""
        fmt: Any = self.format()
        if not hasattr(fmt, "decode_lines"):
            return []
        values = list(self.values())
        reading = fmt.with_header(fmt.header(values)) if fmt.has_header else fmt
        return [(fmt.encode_lines(values), reading, values)]


class RegisteredFormatSuite(FormatSuite):
    """What holds for a format whose schemas are in a registry, besides what holds for every format.

    The bad payloads must not need a schema that the registry has and nobody has fetched.
    """

    topic = "format-suite"
    """To which the format is bound."""

    @abstractmethod
    def registered(self) -> RegisteredFormat[Any]:
        """A new description of the same format, which has fetched nothing."""

    def format(self) -> Format[Any]:
        """The format, bound to the topic and prepared for the records and for the bad payloads."""
        fmt = self.registered().for_topic(self.topic, "value")
        asyncio.run(fmt.prepare_encode(_at_once))
        asyncio.run(fmt.prepare_decode([*fmt.encode_messages(self.values()), *self.bad_payloads()], _at_once))
        return fmt

    def test_a_reader_needs_the_payloads_alone(self) -> None:
        """What another wrote is decoded once its schemas were fetched, and not before."""
        payloads = self.format().encode_messages(list(self.values()))
        fmt = self.registered().for_topic(self.topic, "value")
        assert len(fmt.decode_messages(payloads).undecodable) == len(payloads)
        asyncio.run(fmt.prepare_decode(payloads, _at_once))
        assert fmt.decode_messages(payloads).values == list(self.values())

    def test_what_is_known_is_not_asked_for_again(self) -> None:
        """Preparing a second time waits for nothing, for any topic that shares the format."""
        payloads = self.format().encode_messages(list(self.values()))
        fmt = self.registered()
        bound = fmt.for_topic(self.topic, "value")
        asyncio.run(bound.prepare_encode(_at_once))
        asyncio.run(bound.prepare_decode(payloads, _at_once))
        asyncio.run(bound.prepare_encode(_never))
        asyncio.run(fmt.for_topic(f"{self.topic}-2", "value").prepare_decode(payloads, _never))

    def test_writing_needs_a_prepared_format(self) -> None:
        """Otherwise it is the connector that is wrong, and not the record: no error that `on_error` would take."""
        fmt = self.registered().for_topic(self.topic, "value")
        try:
            fmt.encode_messages(list(self.values()))
        except (TypeError, ValueError, OverflowError) as error:
            raise AssertionError(f"{type(error).__name__} says that a record is bad") from error
        except Exception:
            return
        raise AssertionError("encode_messages must raise before prepare_encode")


async def _at_once(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


async def _never(function: Callable[..., Any], *args: Any) -> Any:
    raise AssertionError(f"{function} is called again")


def _check_report(decoded: Decoded[Any], start: int, raw: bytes) -> None:
    assert len(decoded.undecodable) == 1, "a bad record must be reported once"
    report = decoded.undecodable[0]
    assert report.start == start, f"it begins at {start}, not at {report.start}"
    assert report.raw.rstrip(b"\r\n") == raw, "its bytes must be reported as they are"
    assert report.reason, "a reason must be given"
