"""Reads one split of a file: bytes ahead of need, blocks of whole records, offsets behind each block."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from ..formats.format import RAW_LIMIT_BYTES, Format, LineFormat
from ..source import Fetch, Lag, Offset, Rejected, SourceContext, SourceError, Split
from .compression import Compression, compression_of
from .framing import Block, DamagedFrame, Framing, LengthFraming, LineFraming
from .raw import Chunk, PlainFile, RawFile, open_raw

_READ_AHEAD_BYTES: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"

# Blocks near this size decode fastest: the records made from one are still in the processor's cache.
_BLOCK_BYTES: Final = 256 * 1024

# A line that was cut off is read again when it is no longer than this, which costs less than putting buffers together.
_READ_AGAIN_BYTES: Final = 64 * 1024

OnDamage = Literal["fail", "stop"]


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How the files of a source are read.

    Attributes:
        format: of the records.
        compression: of the files; None goes by their names.
        max_record_bytes: a longer record is rejected.
        on_damage: what happens at a place that cannot be read.
    """

    format: Format[Any]
    compression: Compression | None
    max_record_bytes: int
    on_damage: OnDamage


class RecordReader:
    """One split of a file that does not grow.

    Its offset is `{"byte": n}`: where the next record begins; in decompressed bytes for a compressed file.
    """

    follows = False

    def __init__(
        self, path: str, split: Split, offset: Offset | None, settings: ReadSettings, context: SourceContext
    ) -> None:
        self.path = path
        self._context = context
        self._settings = settings
        self._kind = compression_of(path, settings.compression)
        self._raw: RawFile | None = None
        self._ahead: tuple[int, Awaitable[Chunk]] | None = None
        self._begin: int = split.where.get("start", 0)
        self._stop: int | None = split.where.get("end")
        # A range begins with the first line that starts in it, which is found at the first read.
        self._aligned = offset is not None or self._begin == 0
        self._base: int = self._begin if offset is None else offset["byte"]
        self._framing: Framing | None = None
        self._empty_buffer()
        self._record_bytes = 128.0
        self._size: int | None = None

    def _empty_buffer(self) -> None:
        self._buffer = b""
        self._at = 0
        self._last = False
        self._damage: str | None = None
        self._skipping: Rejected | None = None
        self._wanted = 0

    @property
    def position(self) -> int:
        """Where the next record begins."""
        return self._base + self._at

    def offset(self) -> Offset:
        return {"byte": self.position}

    async def check(self) -> None:
        """See that the file is there and reaches to the offset.

        Raises:
            SourceError: it is not or does not.
        """
        await self._blocking(self._check)

    def _check(self) -> None:
        raw = open_raw(self.path, self._kind)
        try:
            if isinstance(raw, PlainFile):
                self._size = raw.stat().st_size
                self._refuse_shorter(self._size)
        finally:
            raw.close()

    def _refuse_shorter(self, size: int | None) -> None:
        if size is not None and size < self.position:
            raise SourceError(
                f"{self.path}: ends before byte {self.position}, which the checkpoint has read: it was cut or "
                "replaced. Put the file back, or start without the checkpoint",
                retriable=False,
            )

    async def read(self, limit: int) -> Fetch[Any]:
        if self._framing is None and not await self._start():
            return await self._end()
        while True:
            if self._skipping is not None:
                fetch = await self._skip_long_line()
                if fetch is not None:
                    return fetch
            block, final = self._next_block(limit)
            if block:
                fetch = await self._decode(block, final)
                if fetch is not None:
                    return fetch
                # A record goes on behind the block: take a larger one.
                self._wanted = 2 * len(block)
                if len(self._next_block(limit)[0]) > len(block):
                    continue
            if self._skipping is None and (self._last or self._past_stop()):
                if self._damage is not None and not self._past_stop():
                    return await self._damaged(self._damage)
                if block and self._takes_rest():
                    return await self._decode_finally(self._buffer[self._at :])
                return await self._end()
            if self._skipping is None and not await self._fill() and block:
                return await self._decode_finally(block)

    async def _start(self) -> bool:
        """Open the file and find the first record; False when there is none."""
        fmt = self._settings.format
        if self._raw is None:
            self._raw = await self._blocking(open_raw, self.path, self._kind)
        if not hasattr(fmt, "decode_lines"):
            self._framing = LengthFraming(fmt, self._settings.max_record_bytes)
            return True
        line_format: LineFormat[Any] = cast("LineFormat[Any]", fmt)
        if line_format.has_header:
            header = await self._first_line()
            if header is None:
                return False
            try:
                line_format = line_format.with_header(header)
            except ValueError as error:
                raise SourceError(f"{self.path}: {error}", retriable=False) from error
            self._base = max(self._base, len(header))
        self._framing = LineFraming(line_format)
        if not self._aligned:
            await self._align()
        return True

    async def _first_line(self) -> bytes | None:
        size = _READ_AHEAD_BYTES
        while True:
            chunk = await self._chunk(0, size)
            newline = chunk.data.find(b"\n")
            if newline >= 0:
                return chunk.data[: newline + 1]
            if chunk.damage is not None or len(chunk.data) > self._settings.max_record_bytes:
                reason = chunk.damage or "no line end in the first bytes"
                raise SourceError(f"{self.path}: the header row cannot be read: {reason}", retriable=False)
            if chunk.end:
                return None if self.follows else chunk.data or None
            size *= 2

    async def _align(self) -> None:
        position = self._begin - 1
        while True:
            chunk = await self._chunk(position, _READ_AHEAD_BYTES)
            newline = chunk.data.find(b"\n")
            position += len(chunk.data) if newline < 0 else newline + 1
            if newline >= 0 or chunk.end:
                break
        self._base = max(self._base, position)
        self._aligned = True

    def _past_stop(self) -> bool:
        return self._stop is not None and self.position >= self._stop

    def _next_block(self, limit: int) -> tuple[Block, bool]:
        """The next whole records of the buffer, and whether nothing follows them in this split."""
        assert self._framing is not None
        buffer, at = self._buffer, self._at
        if self._past_stop():
            return b"", True
        n_bytes = max(_even(len(buffer) - at, min(int(limit * self._record_bytes), _BLOCK_BYTES)), self._wanted, 1)
        try:
            # A record that goes on behind the block is several lines long: then bytes count.
            cut = self._framing.cut(buffer, at, n_bytes, n_bytes if self._wanted else limit)
        except DamagedFrame as error:
            self._last, self._damage = True, str(error)
            return b"", True
        final = self._last and cut == len(buffer) and self._damage is None and self._takes_rest()
        if self._stop is not None and self._base + cut >= self._stop:
            last = buffer.find(b"\n", max(at, self._stop - 1 - self._base)) + 1
            cut, final = (last, True) if last else (cut, final)
        if cut == at and self._last and self._damage is None and self._takes_rest():
            cut, final = len(buffer), True
        if cut - at > self._settings.max_record_bytes + 1 and self._too_long(cut):
            self._begin_skipping()
            return b"", False
        return self._framing.block(buffer, at, cut), final

    def _takes_rest(self) -> bool:
        """Whether a record at the end of the file may do without its line end."""
        return True

    def _too_long(self, cut: int) -> bool:
        return isinstance(self._framing, LineFraming) and self._buffer.find(b"\n", self._at, cut - 1) < 0

    async def _decode(self, block: Block, final: bool) -> Fetch[Any] | None:
        """The records of a block; None when it holds but the beginning of one."""
        assert self._framing is not None
        decoded = self._framing.decode(block, final)
        taken = len(block) - decoded.unfinished
        if taken == 0:
            return None
        self._wanted = 0
        base = self.position
        rejected = []
        if decoded.undecodable:
            line = await self._line_at(base)
            lines = bytes(block)
            rejected = [
                Rejected(bad.raw, bad.reason, _place(line, lines, base, bad.start)) for bad in decoded.undecodable
            ]
        positions = self._framing.positions(block, base, decoded)
        self._record_bytes = max(1.0, taken / max(1, len(decoded.values) + len(rejected)))
        self._at += taken
        return Fetch(decoded.values, self.offset(), positions=positions, rejected=rejected, n_bytes=taken)

    async def _decode_finally(self, block: Block) -> Fetch[Any]:
        fetch = await self._decode(block, True)
        assert fetch is not None
        return fetch

    async def _line_at(self, position: int) -> int | None:
        """The number of the line that begins at `position`."""
        if self._raw is None or not isinstance(self._framing, LineFraming):
            return None
        line: int = await self._blocking(self._raw.line_at, position)
        return line

    async def _fill(self) -> bool:
        """Read on behind the buffer's unused rest; whether there was more."""
        rest = len(self._buffer) - self._at
        most = self._settings.max_record_bytes + 5
        position = self.position
        size = min(max(_READ_AHEAD_BYTES, 2 * rest), most)
        chunk = await self._chunk_behind(position, self._buffer[self._at :], size)
        data = chunk.data
        if not self.follows:
            self._refuse_shorter(chunk.size)
        self._base, self._at, self._buffer = position, 0, data
        if position == 0 and data.startswith(_BOM):
            self._at = len(_BOM)
        self._size = chunk.size
        self._last = chunk.end or chunk.damage is not None
        self._damage = chunk.damage
        if len(data) >= most and self._too_long(len(data)):
            self._begin_skipping()
        return len(data) > rest

    def _begin_skipping(self) -> None:
        raw = self._buffer[self._at : self._at + RAW_LIMIT_BYTES]
        self._skipping = Rejected(raw, f"longer than max_line={self._settings.max_record_bytes}", None)

    async def _skip_long_line(self) -> Fetch[Any] | None:
        """Go behind the end of a line that is too long, never holding more of it than one read brings."""
        assert self._skipping is not None
        start = self.position
        if self._skipping.position is None:
            line = await self._line_at(start)
            self._skipping.position = _place(line, b"", start, 0)
        position = start
        chunk = Chunk(self._buffer[self._at :], self._last, self._damage, self._size)
        while True:
            newline = chunk.data.find(b"\n")
            position += len(chunk.data) if newline < 0 else newline + 1
            if newline >= 0 or chunk.end or chunk.damage is not None:
                break
            chunk = await self._chunk(position, _READ_AHEAD_BYTES)
        rejected = self._skipping
        if newline < 0 and chunk.damage is None and not self._takes_rest():
            return await self._end()
        self._empty_buffer()
        self._base = position
        return Fetch([], self.offset(), rejected=[rejected], n_bytes=position - start)

    async def _damaged(self, reason: str) -> Fetch[Any]:
        where = f"byte {self.position}{'' if self._kind == 'none' else ' of the decompressed data'}"
        if self._settings.on_damage == "fail":
            raise SourceError(
                f"{self.path}: cannot be read beyond {where}: {reason}. All records before it were read. Mend the "
                'file, or set on_damage="stop" to end there',
                retriable=False,
            )
        raw = self._buffer[self._at : self._at + RAW_LIMIT_BYTES]
        fetch: Fetch[Any] = Fetch([], self.offset(), rejected=[Rejected(raw, reason, where)], end=True)
        await self.close()
        return fetch

    async def _end(self) -> Fetch[Any]:
        await self.close()
        return self._nothing(end=True)

    def _nothing(self, end: bool = False) -> Fetch[Any]:
        return Fetch([], self.offset(), end=end)

    async def _chunk(self, position: int, size: int) -> Chunk:
        assert self._raw is not None
        await self._drop_ahead()
        chunk: Chunk = await self._blocking(self._raw.read, position, size)
        return chunk

    async def _chunk_behind(self, position: int, rest: bytes, size: int) -> Chunk:
        """The bytes from `position` on, of which `rest` is at hand; while they are worked on, those behind are read."""
        assert self._raw is not None
        ahead, self._ahead = self._ahead, None
        if ahead is not None and position <= ahead[0] <= position + len(rest):
            read: Chunk = await self._told(ahead[1])
            chunk = Chunk(rest[: ahead[0] - position] + read.data, read.end, read.damage, read.size)
        else:
            if ahead is not None:
                await self._told(ahead[1])
            chunk = await self._chunk(position, size)
        if not chunk.end and not self.follows and isinstance(self._raw, PlainFile):
            # From the beginning of the line that is cut off: then the next buffer is what is read, as it is.
            lines = isinstance(self._framing, LineFraming)
            cut_off = chunk.data.rfind(b"\n", -_READ_AGAIN_BYTES) + 1 if lines else 0
            next_position = position + (cut_off or len(chunk.data))
            awaitable = self._context.blocking(self._raw.read, next_position, _READ_AHEAD_BYTES)
            self._ahead = next_position, awaitable
        return chunk

    async def _drop_ahead(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with suppress(SourceError):  # whoever needs those bytes will ask, and be told, again
                await self._told(ahead[1])

    async def _blocking(self, function: Any, *args: Any) -> Any:
        return await self._told(self._context.blocking(function, *args))

    async def _told(self, working: Awaitable[Any]) -> Any:
        try:
            return await working
        except FileNotFoundError as error:
            raise SourceError(
                f"{self.path}: the file is gone. Put it back, or start without the checkpoint that names it",
                retriable=False,
            ) from error
        except OSError as error:
            raise SourceError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def lag(self) -> Lag | None:
        end = self._size if self._stop is None else self._stop
        return None if end is None else Lag(n_bytes=max(0, end - self.position))

    async def close(self) -> None:
        await self._drop_ahead()
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()


def _even(n_bytes: int, most: int) -> int:
    """The size of pieces that are all alike, of about `most` bytes: at the end no few bytes are left over, which would cost
    as much as a whole piece.

    >>> _even(1000, 300), _even(610, 300), _even(20, 300)
    (250, 305, 20)
    """
    pieces = int(n_bytes / max(most, 1) + 0.9)
    return n_bytes if pieces < 2 else -(-n_bytes // pieces)


def _place(line: int | None, block: bytes, base: int, start: int) -> str:
    if line is None:
        return f"byte {base + start}"
    line += block.count(b"\n", 0, start)
    return f"line {line}, byte {base + start}"
