"""Text: a line is a record."""

from __future__ import annotations

from collections.abc import Sequence

from .format import RAW_LIMIT_BYTES, Decoded, Undecodable, reason_of
from .json_lines import decode_each


class TextFormat:
    """See `text`."""

    suffix = ".txt"
    has_header = False
    splittable = True
    type = str

    def decode_lines(self, block: bytes, final: bool = True) -> Decoded[str]:
        try:
            lines = block.decode().split("\n")
        except UnicodeDecodeError:
            return self._decode_one_by_one(block)
        if "\r" in lines[0] or b"\r\n" in block:
            lines = [line.removesuffix("\r") for line in lines]
        return Decoded([line for line in lines if line])

    def _decode_one_by_one(self, block: bytes) -> Decoded[str]:
        starts: list[int] = []
        decoded: Decoded[str] = Decoded([], starts)
        start = 0
        for line in block.split(b"\n"):
            content = line.removesuffix(b"\r")
            if content:
                try:
                    decoded.values.append(content.decode())
                    starts.append(start)
                except UnicodeDecodeError as error:
                    decoded.undecodable.append(Undecodable(start, content[:RAW_LIMIT_BYTES], reason_of(error)))
            start += len(line) + 1
        return decoded

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[str]:
        return decode_each(payloads, bytes.decode)

    def encode_lines(self, values: Sequence[str]) -> bytes:
        if not values:
            return b""
        lines = "\n".join(values)
        if lines.count("\n") != len(values) - 1:
            raise ValueError("a text record must not hold a newline: it would become two; write JSON instead")
        return lines.encode() + b"\n"

    def encode_messages(self, values: Sequence[str]) -> list[bytes]:
        return [value.encode() for value in values]

    def with_header(self, line: bytes) -> TextFormat:
        return self

    def header(self, values: Sequence[str]) -> bytes:
        return b""

    def describe(self) -> str:
        return "text()"


def text() -> TextFormat:
    """Text lines, UTF-8: each line that is not empty is a record, without its line end (LF or CRLF).

    >>> text().decode_lines(b"one\\r\\n\\ntwo").values
    ['one', 'two']
    """
    return TextFormat()
