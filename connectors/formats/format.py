"""What a format is: the contract between bytes and records, free of where the bytes come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, Protocol, TypeVar, runtime_checkable

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


class BadPayloadError(ValueError):
    """Raised where a format decodes one payload, and caught there: its message is the reason of an `Undecodable`."""


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

    # A class may say `takes_views = True`, for itself and not for its subclasses: its `decode_lines` takes a `memoryview` as
    # well, so that nothing need be copied.


Part = Literal["key", "value"]
"""Which part of a message a format is for."""

Blocking = Callable[..., Awaitable[Any]]
"""The `blocking` of a source's or sink's context: runs a function that waits in the engine's executor."""


@runtime_checkable
class RegisteredFormat(Format[T], Protocol[T]):
    """A format whose schemas are kept in a registry: they are fetched before it is used, for that waits for the network
    while `decode_messages` and `encode_messages` must not. A connector of topics asks `isinstance` once and then:

    - takes `for_topic` in the place of what the user gave, once per topic and part;
    - awaits `prepare_encode` before the first `encode_messages`, in `open`;
    - awaits `prepare_decode` with the very payloads that it gives to `decode_messages` next.

    A connector that does not do so refuses such a format. `prepare` below spares a reader the question.
    """

    def for_topic(self, topic: str, part: Part) -> RegisteredFormat[T]:
        """This format for the keys or the values of a topic. The two share what they have fetched."""
        ...

    async def prepare_decode(self, payloads: Sequence[bytes], blocking: Blocking) -> None:
        """Fetch the schemas that these payloads name and nobody has fetched before; at once when there is none. Schemas
        never change, so each is fetched once. One that the registry does not know is no error here: its payloads are
        undecodable.

        Raises:
            ConnectorError: the registry cannot be reached or refuses us. Nothing is wrong with the payloads.
        """
        ...

    async def prepare_encode(self, blocking: Blocking) -> None:
        """Register the schema that is written, or look it up. At once when that has been done.

        Raises:
            ConnectorError: the registry cannot be reached, refuses us, or refuses the schema.
        """
        ...


async def prepare(format: Format[Any], payloads: Sequence[bytes], blocking: Blocking) -> None:
    """`prepare_decode` of a format that has it; nothing for others."""
    if isinstance(format, RegisteredFormat):
        await format.prepare_decode(payloads, blocking)


def type_name(type: Any) -> str:
    """A type as a plan shows it."""
    return "" if type is None else getattr(type, "__name__", None) or str(type)


def reason_of(error: BaseException) -> str:
    """What a failed decoding says to a person. Foreign errors (a user's `__post_init__`) keep their name."""
    if isinstance(error, BadPayloadError) or type(error).__module__.startswith("msgspec"):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8 at byte {error.start}: {error.reason}"
    return f"{type(error).__name__}: {error}"
