"""MessagePack: one value per payload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar, overload

import msgspec

from .format import Decoded, type_name
from .json_lines import decode_each

T = TypeVar("T")


class MsgpackFormat(Generic[T]):
    """See `msgpack`."""

    suffix = ".msgpack"

    def __init__(self, type: Any = None) -> None:
        self.type = type
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Any if type is None else type)
        self._encoder = msgspec.msgpack.Encoder()

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[T]:
        decode = self._decoder.decode
        try:
            return Decoded([decode(payload) for payload in payloads])
        except Exception:
            return decode_each(payloads, decode)

    def encode_messages(self, values: Sequence[T]) -> list[bytes]:
        encode = self._encoder.encode
        return [encode(value) for value in values]

    def describe(self) -> str:
        return f"msgpack({type_name(self.type)})"


@overload
def msgpack(type: type[T]) -> MsgpackFormat[T]: ...
@overload
def msgpack(type: Any = None) -> MsgpackFormat[Any]: ...
def msgpack(type: Any = None) -> MsgpackFormat[Any]:
    """MessagePack, typed and checked like `json`. In a file each payload follows its length, four bytes big endian.

    >>> msgpack(int).decode_messages(msgpack(int).encode_messages([1, 2])).values
    [1, 2]
    """
    return MsgpackFormat(type)
