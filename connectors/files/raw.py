"""The bytes of a file, from any position: plain, or decompressed on the way. All of this blocks."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from typing import Final, Protocol

from .compression import Compression, decompressor, errors

_PIECE_BYTES: Final = 64 * 1024
_COUNT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read brought.

    Attributes:
        data: the bytes; fewer than asked for only at the end of the file or before damage.
        end: the file ends behind them, as far as is known now.
        damage: why the bytes behind them cannot be read; None when they can.
        size: bytes of the whole file, decompressed; None when it is not known yet.
    """

    data: bytes
    end: bool
    damage: str | None
    size: int | None


class RawFile(Protocol):
    """An open file."""

    def read(self, position: int, size: int) -> Chunk:
        """Up to `size` bytes from `position`."""
        ...

    def line_at(self, position: int) -> int:
        """The number of the line that `position` is in, from 1. Not before the position last read from."""
        ...

    def close(self) -> None: ...


class PlainFile:
    """A file read as it is. Any position may be asked for at no cost."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by `close`
        self._line = (0, 1)

    def read(self, position: int, size: int) -> Chunk:
        # Without moving the file's own position: the next piece may be read while a line is counted.
        data = os.pread(self._file.fileno(), size, position)
        return Chunk(data, len(data) < size, None, self.stat().st_size)

    def fingerprint(self, size: int) -> str | None:
        """What tells this file from another: a number of first bytes, and their CRC. None when it has fewer."""
        self._file.seek(0)
        head = self._file.read(size)
        return f"{size}:{zlib.crc32(head):08x}" if len(head) == size else None

    def stat(self) -> os.stat_result:
        """Of the open file, which may have been renamed or deleted."""
        return os.fstat(self._file.fileno())

    def line_at(self, position: int) -> int:
        # Counted only when a bad record asks, from the place that asked last: good files pay nothing.
        known, line = self._line if self._line[0] <= position else (0, 1)
        self._file.seek(known)
        while known < position:
            data = self._file.read(min(_COUNT_BYTES, position - known))
            if not data:
                break
            known += len(data)
            line += data.count(b"\n")
        self._line = (known, line)
        return line

    def close(self) -> None:
        self._file.close()


class CompressedFile:
    """A file decompressed while it is read. Positions count decompressed bytes; going back, or starting in the middle,
    reads from the beginning of the file again."""

    def __init__(self, path: str, kind: Compression) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed by `close`
        self._kind = kind
        self._restart()

    def _restart(self) -> None:
        self._file.seek(0)
        self._member = decompressor(self._kind)
        self._start = 0
        self._line = 1
        self._pending = b""
        self._end = False
        self._damage: str | None = None
        self._fresh = True

    def read(self, position: int, size: int) -> Chunk:
        if position < self._start:
            self._restart()
        # Bytes before the position are let go of as they come: they may be many more than fit in memory.
        while not self._end and self._damage is None and self._start + len(self._pending) < position:
            self._start += len(self._pending)
            self._line += self._pending.count(b"\n")
            self._pending = self._decompress_next()
        skip = min(position - self._start, len(self._pending))
        self._line += self._pending.count(b"\n", 0, skip)
        pieces = [self._pending[skip:]]
        self._start += skip
        total = len(pieces[0])
        while total < size and not self._end and self._damage is None:
            pieces.append(self._decompress_next())
            total += len(pieces[-1])
        self._pending = b"".join(pieces)
        data = self._pending[:size] if self._start == position else b""
        whole = self._start + len(self._pending) <= position + size
        known = self._start + len(self._pending) if self._end else None
        return Chunk(data, self._end and whole, self._damage if whole else None, known)

    def line_at(self, position: int) -> int:
        return self._line + self._pending.count(b"\n", 0, position - self._start)

    def _decompress_next(self) -> bytes:
        data = self._file.read(_PIECE_BYTES)
        if not data:
            if self._fresh:
                self._end = True
            else:
                self._damage = f"the {self._kind} data stops in the middle: the file is cut off"
            return b""
        return self._feed(data)

    def _feed(self, data: bytes) -> bytes:
        out: list[bytes] = []
        while data:
            if self._fresh and self._kind == "gzip" and not data.strip(b"\0"):
                return b"".join(out)  # zero padding behind the last member is legal
            self._fresh = False
            try:
                out.append(self._member.decompress(data))
            except errors() as error:
                out.append(self._before_damage(data))
                self._damage = f"damaged {self._kind} data: {error}"
                return b"".join(out)
            data = b""
            if self._member.eof:
                data = self._member.unused_data
                self._member = decompressor(self._kind)
                self._fresh = True
        return b"".join(out)

    def _before_damage(self, data: bytes) -> bytes:
        """What the damaged piece holds before the damage. The file is decompressed again, at the end byte by byte."""
        member = decompressor(self._kind)
        until = self._file.tell() - len(data)
        self._file.seek(0)
        left = until
        while left:
            piece = self._file.read(min(_PIECE_BYTES, left))
            left -= len(piece)
            while piece:
                member.decompress(piece)
                piece = b""
                if member.eof:
                    piece = member.unused_data
                    member = decompressor(self._kind)
        found: list[bytes] = []
        try:
            found.extend(member.decompress(data[i : i + 1]) for i in range(len(data)))
        except errors():
            pass
        return b"".join(found)

    def close(self) -> None:
        self._file.close()


def open_raw(path: str, kind: Compression) -> RawFile:
    """Open a file.

    Raises:
        OSError: it cannot be opened.
    """
    return PlainFile(path) if kind == "none" else CompressedFile(path, kind)


def fingerprint(path: str, size: int) -> str | None:
    """See `PlainFile.fingerprint`, for a file that is not open."""
    file = PlainFile(path)
    try:
        return file.fingerprint(size)
    finally:
        file.close()
