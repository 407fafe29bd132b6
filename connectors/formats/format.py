"""What a format is: the contract between bytes and records, free of where the bytes come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

T = TypeVar("T")

RAW_LIMIT_BYTES: Final = 64 * 1024
"""How much of a bad record is kept."""


@dataclass(slots=True)
class Undecodable:
    """A record that could not be decoded.

    Attributes:
        start: where it begins: bytes from the start of the block, or the index of the payload.
        raw: its bytes, cut at 64 KiB.
        reason: what is wrong.
    """

    start: int
    raw: bytes
    reason: str


@dataclass(slots=True)
class Decoded(Generic[T]):
    """What a block of bytes held.

    Attributes:
        values: the good records, in order.
        starts: where each value begins, as in `Undecodable.start`. None in the usual case of one value for each
            line that is not blank, or for each payload.
        undecodable: the bad records, in order.
        unfinished: bytes at the end of the block that are the beginning of a record; 0 when the block was final.
    """

    values: list[T]
    starts: Sequence[int] | None = None
    undecodable: list[Undecodable] = field(default_factory=list)
    unfinished: int = 0


class Format(Protocol[T]):
    """One payload is one record: what a broker needs, and files that frame payloads by their length.

    A format is a description: it is shared and never changes.

    Attributes:
        type: the type of the records; None when it is not known.
        suffix: the usual end of a file name, `".jsonl"`.
    """

    type: Any
    suffix: str

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[T]:
        """The records of some payloads. A bad payload is reported and costs its neighbours nothing; never raises."""
        ...

    def encode_messages(self, values: Sequence[T]) -> list[bytes]:
        """One payload per value.

        Raises:
            TypeError, ValueError, OverflowError: a value cannot be written in this format.
        """
        ...

    def describe(self) -> str:
        """What a plan shows: `json(Flight)`."""
        ...


class LineFormat(Format[T], Protocol[T]):
    """A format whose records end with a newline, so that a large buffer can be decoded at once.

    Attributes:
        has_header: the first line of a file names the columns; `with_header` must be called before `decode_lines`.
        splittable: a newline always ends a record, so that a file may be read in byte ranges.
    """

    has_header: bool
    splittable: bool

    def decode_lines(self, block: bytes, final: bool = True) -> Decoded[T]:
        """The records of a block that begins at the start of a line and ends after a newline, or with the file.

        Never raises: what cannot be decoded is reported, and the rest is returned.

        Args:
            block: whole lines.
            final: nothing follows. When false, a record that seems to go on after the block is left `unfinished`; the
                caller gives those bytes again, with more behind them.
        """
        ...

    def encode_lines(self, values: Sequence[T]) -> bytes:
        """The lines of some values, each with its newline; no header.

        Raises:
            TypeError, ValueError, OverflowError: a value cannot be written in this format.
        """
        ...

    def with_header(self, line: bytes) -> LineFormat[T]:
        """The format for a file that begins with this header line.

        Raises:
            ValueError: a column that the type needs is missing, or the line is no header.
        """
        ...

    def header(self, values: Sequence[T]) -> bytes:
        """The header line of a file whose first records are `values`; empty where the format has none."""
        ...


def type_name(type: Any) -> str:
    """A type as a plan shows it."""
    return "" if type is None else getattr(type, "__name__", None) or str(type)


def reason_of(error: BaseException) -> str:
    """What a failed decoding says to a person. Foreign errors (a user's `__post_init__`) keep their name."""
    if type(error).__module__.startswith("msgspec"):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}: {error.reason}"
    return f"{type(error).__name__}: {error}"
