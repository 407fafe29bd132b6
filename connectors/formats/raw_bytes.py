"""Bytes as they are."""

from __future__ import annotations

from collections.abc import Sequence

from .format import Decoded


class RawFormat:
    """See `raw`."""

    type = bytes
    suffix = ".bin"

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[bytes]:
        return Decoded([bytes(payload) for payload in payloads])

    def encode_messages(self, values: Sequence[bytes]) -> list[bytes]:
        for value in values:
            if not isinstance(value, bytes | bytearray | memoryview):
                raise TypeError(f"raw() writes bytes, not {type(value).__name__}")
        return [bytes(value) for value in values]

    def describe(self) -> str:
        return "raw()"


def raw() -> RawFormat:
    """Payloads as they are: each record is bytes. No payload is bad.

    >>> raw().decode_messages([b"any"]).values
    [b'any']
    """
    return RawFormat()
