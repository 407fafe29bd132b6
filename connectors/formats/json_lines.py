"""JSON: one value per line, or one per payload, typed and checked by msgspec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar, overload

import msgspec

from .format import RAW_LIMIT_BYTES, Decoded, Undecodable, reason_of, type_name

T = TypeVar("T")

# What msgspec says when a value goes on behind the end of the input; anything else cannot be mended by more bytes.
_TRUNCATED: Final = "Input data was truncated"

# How many lines one value may take; keeps the search for its end short.
_MOST_LINES: Final = 64


class JsonFormat(Generic[T]):
    """See `json`."""

    suffix = ".jsonl"
    has_header = False
    splittable = True
    takes_views = True

    def __init__(self, type: Any = None) -> None:
        self.type = type
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Any if type is None else type)
        self._encoder = msgspec.json.Encoder()

    def decode_lines(self, block: bytes | memoryview, final: bool = True) -> Decoded[T]:
        try:
            return Decoded(self._decoder.decode_lines(block))
        except Exception:
            return self._decode_one_by_one(bytes(block), final)

    def _decode_one_by_one(self, block: bytes, final: bool) -> Decoded[T]:
        # Bulk decoding takes a value that spans lines as one. So must this path, or results would depend on
        # where a block was cut: a line that ends too early is tried together with the lines behind it.
        starts: list[int] = []
        decoded: Decoded[T] = Decoded([], starts)
        decode = self._decoder.decode_lines
        start, size = 0, len(block)
        while start < size:
            stop = first_stop = (block.find(b"\n", start) + 1) or size
            reason = ""
            for _ in range(_MOST_LINES):
                try:
                    values = decode(block[start:stop])
                except Exception as error:
                    if not reason:
                        reason = reason_of(error)
                    if not _is_truncated(error):
                        break
                    if stop == size:
                        if not final:
                            decoded.unfinished = size - start
                            return decoded
                        break
                    stop = (block.find(b"\n", stop) + 1) or size
                else:
                    decoded.values += values
                    starts += [start] * len(values)
                    start = stop
                    reason = ""
                    break
            if reason:
                raw = block[start:first_stop].rstrip(b"\r\n")
                decoded.undecodable.append(Undecodable(start, raw[:RAW_LIMIT_BYTES], reason))
                start = first_stop
        return decoded

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[T]:
        decode = self._decoder.decode
        try:
            return Decoded([decode(payload) for payload in payloads])
        except Exception:
            return decode_each(payloads, decode)

    def encode_lines(self, values: Sequence[T]) -> bytes:
        return self._encoder.encode_lines(values)

    def encode_messages(self, values: Sequence[T]) -> list[bytes]:
        encode = self._encoder.encode
        return [encode(value) for value in values]

    def with_header(self, line: bytes) -> JsonFormat[T]:
        return self

    def header(self, values: Sequence[T]) -> bytes:
        return b""

    def describe(self) -> str:
        return f"json({type_name(self.type)})"


def _is_truncated(error: Exception) -> bool:
    return type(error) is msgspec.DecodeError and str(error) == _TRUNCATED


def decode_each(payloads: Sequence[bytes], decode: Any) -> Decoded[Any]:
    """Decode payload by payload: what is left to do when the bulk way failed."""
    starts: list[int] = []
    decoded: Decoded[Any] = Decoded([], starts)
    for index, payload in enumerate(payloads):
        try:
            value = decode(payload)
        except Exception as error:
            decoded.undecodable.append(Undecodable(index, bytes(payload[:RAW_LIMIT_BYTES]), reason_of(error)))
        else:
            decoded.values.append(value)
            starts.append(index)
    return decoded


@overload
def json(type: type[T]) -> JsonFormat[T]: ...
@overload
def json(type: Any = None) -> JsonFormat[Any]: ...
def json(type: Any = None) -> JsonFormat[Any]:
    """JSON lines: UTF-8, one value per line; blank lines are skipped, CRLF is accepted.

    Only the fields that the type names are decoded, and their types are checked. NaN and Infinity are not JSON:
    such a line is a bad record, and NaN is written as null. A value that spans up to 64 lines is taken as one, except
    in files that are read in byte ranges.

    Args:
        type: what each value is: a `msgspec.Struct`, a dataclass, a TypedDict, `dict`, a union...; None for plain
            Python values.

    >>> json().decode_lines(b'{"n": 1}\\n\\n{"n": \\n').undecodable[0].start
    10
    """
    return JsonFormat(type)
