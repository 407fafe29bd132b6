"""How records follow one another in a file: a line each, or a length before each."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol, TypeAlias, overload

from ..formats.format import RAW_LIMIT_BYTES, Decoded, Format, LineFormat, Undecodable

Block: TypeAlias = bytes | memoryview
"""Whole records: copied, or as they lie in the buffer."""

_LENGTH: Final = struct.Struct(">I")
_FEW: Final = 32


class DamagedFrame(Exception):
    """A length that cannot be right; nothing behind it can be found."""


class Framing(Protocol):
    """Cuts a buffer into blocks of whole records and decodes them."""

    def cut(self, buffer: bytes, start: int, n_bytes: int, n_records: int) -> int:
        """Where to end a block of about `n_bytes` and at most about `n_records` that begins at `start`; `start` when
        the buffer holds no whole record."""
        ...

    def block(self, buffer: bytes, start: int, stop: int) -> Block:
        """That part of a buffer, as `decode` takes it."""
        ...

    def decode(self, block: Block, final: bool) -> Decoded[Any]:
        """The records of a block; starts count bytes."""
        ...

    def positions(self, block: Block, base: int, decoded: Decoded[Any]) -> Sequence[str]:
        """Where each value stands, worked out when asked."""
        ...


class LineFraming:
    """Each record ends with a newline."""

    def __init__(self, format: LineFormat[Any]) -> None:
        self.decode: Callable[[Any, bool], Decoded[Any]] = format.decode_lines
        # A subclass says it anew, for it may decode in another way.
        self._views = vars(type(format)).get("takes_views", False)

    def cut(self, buffer: bytes, start: int, n_bytes: int, n_records: int) -> int:
        target = start + n_bytes
        if n_records < _FEW:
            # Whoever asks for few wants to stop there, or near there.
            cut = start
            for _ in range(n_records):
                cut = buffer.find(b"\n", cut) + 1 or cut
            return cut
        return (buffer.rfind(b"\n", start, target) + 1) or (buffer.find(b"\n", target) + 1) or start

    def block(self, buffer: bytes, start: int, stop: int) -> Block:
        return memoryview(buffer)[start:stop] if self._views else buffer[start:stop]

    def positions(self, block: Block, base: int, decoded: Decoded[Any]) -> Sequence[str]:
        return Positions(block, base, decoded.starts, len(decoded.values))


class LengthFraming:
    """Four bytes, big endian, say how long the record behind them is."""

    def __init__(self, format: Format[Any], max_bytes: int) -> None:
        self._format = format
        self._max_bytes = max_bytes

    def cut(self, buffer: bytes, start: int, n_bytes: int, n_records: int) -> int:
        cut = start
        end, target = len(buffer), start + n_bytes
        while n_records > 0 and cut + 4 <= end and (cut < target or cut == start):
            (length,) = _LENGTH.unpack_from(buffer, cut)
            if length > self._max_bytes:
                if cut > start:
                    break
                raise DamagedFrame(
                    f"the length before a record says {length} bytes, more than max_line={self._max_bytes}: "
                    "the file is damaged, or is no file of records with their lengths"
                )
            if cut + 4 + length > end:
                break
            cut += 4 + length
            n_records -= 1
        return cut

    def block(self, buffer: bytes, start: int, stop: int) -> Block:
        return buffer[start:stop]

    def decode(self, block: Block, final: bool) -> Decoded[Any]:
        block = bytes(block)
        frames = list(_frames(block))
        decoded = self._format.decode_messages([block[start:stop] for start, stop in frames])
        if decoded.starts is not None:
            decoded.starts = [frames[i][0] - 4 for i in decoded.starts]
        for bad in decoded.undecodable:
            bad.start = frames[bad.start][0] - 4
        end = frames[-1][1] if frames else 0
        if end < len(block):
            raw = block[end : end + RAW_LIMIT_BYTES]
            decoded.undecodable.append(Undecodable(end, raw, "the file ends in the middle of a record"))
        return decoded

    def positions(self, block: Block, base: int, decoded: Decoded[Any]) -> Sequence[str]:
        starts = decoded.starts
        if starts is None:
            starts = [start - 4 for start, _ in _frames(block)]
        return Positions(block, base, starts, len(decoded.values))


def _frames(block: Block) -> Iterator[tuple[int, int]]:
    at, end = 0, len(block)
    while at + 4 <= end:
        (length,) = _LENGTH.unpack_from(block, at)
        if at + 4 + length > end:
            return
        yield at + 4, at + 4 + length
        at += 4 + length


def framed(payloads: Sequence[bytes]) -> bytes:
    """Payloads, each behind its length.

    Raises:
        ValueError: a payload is 4 GiB or longer.
    """
    try:
        return b"".join([part for payload in payloads for part in (_LENGTH.pack(len(payload)), payload)])
    except struct.error as error:
        raise ValueError("a record of 4 GiB or more cannot be framed by its length") from error


class Positions(Sequence[str]):
    """`"byte 2048"` for each value of a block. Nothing is computed before somebody asks."""

    __slots__ = ("_base", "_block", "_length", "_starts")

    def __init__(self, block: Block, base: int, starts: Sequence[int] | None, length: int) -> None:
        self._block = block
        self._base = base
        self._starts = starts
        self._length = length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        if self._starts is None:
            block = bytes(self._block)
            ends = [-1, *(i for i, byte in enumerate(block) if byte == 10), len(block)]
            starts = [a + 1 for a, b in pairwise(ends) if block[a + 1 : b].strip()]
            # Several values on a line, or one on several: then the block is all that is known.
            self._starts = starts if len(starts) == self._length else []
        if not self._starts:
            return f"bytes {self._base} to {self._base + len(self._block)}"
        return f"byte {self._base + self._starts[index]}"
