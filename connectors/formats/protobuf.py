"""Protocol Buffers: one message per payload."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from inspect import isclass
from typing import Any, Generic, TypeVar, overload

from .format import BadPayloadError, Decoded
from .json_lines import decode_each
from .protobuf_file import decode_indexes, encode_indexes, indexes_of, messages_of
from .registered import HEAD_BYTES, Decode, Encode, Registered, Unregistered
from .schema_registry import Schema, SchemaRegistry

T = TypeVar("T")


class Protobuf(Generic[T]):
    """Protobuf as a `SchemaLanguage`, and what the format without a registry is made of. See `protobuf`."""

    kind = "PROTOBUF"
    suffix = ".pb"

    def __init__(self, type: Any, schema: str | None) -> None:
        try:
            from google.protobuf.message import Message
        except ImportError as error:
            raise ImportError('Protobuf needs protobuf: install "tidegate[protobuf]"') from error

        if not (isclass(type) and issubclass(type, Message)):
            raise ValueError(f"protobuf: {type!r} is no generated message class")
        self.type: Any = type
        self.record_name: str | None = type.DESCRIPTOR.full_name
        self.schema: str | None = _encoded(type.DESCRIPTOR.file) if schema is None else schema
        if schema is not None and self.record_name not in messages_of(schema).values():
            raise ValueError(f"protobuf: the schema has no message {self.record_name}")

    def imports(self) -> Sequence[tuple[str, str, Sequence[str]]]:
        found: dict[str, tuple[str, str, Sequence[str]]] = {}
        _collect(self.type.DESCRIPTOR.file, found)
        return list(found.values())

    def decoder(self, schema: Schema) -> Decode[T]:
        names, wanted = messages_of(schema.text), self.record_name
        # A file of which we can find no message is one that we cannot read: the payload decides then.
        places = {place for place, name in names.items() if name == wanted} if names else None
        parse: Callable[[bytes], T] = self.type.FromString
        usual = encode_indexes(min(places)) if places else b"\0"
        counted = indexes_of(self.type.DESCRIPTOR, map_entries=True)
        if places and counted not in names:
            places.add(counted)
        start = HEAD_BYTES + len(usual)

        def read(payload: bytes) -> T:
            place, begin = decode_indexes(payload, HEAD_BYTES)
            if places is not None and place not in places:
                raise BadPayloadError(f"the message is {names.get(place, 'none of its schema')}, not {wanted}")
            return parse(payload[begin:])

        def decode(payloads: Sequence[bytes]) -> Decoded[T]:
            try:
                if places != set() and all(payload.startswith(usual, HEAD_BYTES) for payload in payloads):
                    return Decoded([parse(payload[start:]) for payload in payloads])
            except Exception:
                pass
            return decode_each(payloads, read)

        return decode

    def decoding(self) -> Decode[T]:
        """What decodes bare payloads."""
        parse: Callable[[bytes], T] = self.type.FromString

        def decode(payloads: Sequence[bytes]) -> Decoded[T]:
            try:
                return Decoded([parse(payload) for payload in payloads])
            except Exception:
                return decode_each(payloads, parse)

        return decode

    def encoder(self, schema: Schema, head: bytes) -> Encode[T]:
        places = [place for place, name in messages_of(schema.text).items() if name == self.record_name]
        place = places[0] if places else indexes_of(self.type.DESCRIPTOR)
        return self.encoding(head + encode_indexes(place))

    def encoding(self, head: bytes) -> Encode[T]:
        """What encodes messages, each behind `head`."""
        wanted, describe = self.type, self.describe

        def encode(values: Sequence[Any]) -> list[bytes]:
            for value in values:
                if type(value) is not wanted:
                    raise TypeError(f"{describe()} cannot write a {type(value).__name__}")
            try:
                return [head + value.SerializeToString() for value in values]
            except (TypeError, ValueError, OverflowError):
                raise
            except Exception as error:  # a required field is missing
                raise ValueError(str(error)) from error

        return encode

    def describe(self) -> str:
        return f"protobuf({self.type.__name__})"


def _encoded(file: Any) -> str:
    """A file as registries take it where they are not given its text."""
    return base64.b64encode(file.serialized_pb).decode()


def _collect(file: Any, found: dict[str, tuple[str, str, Sequence[str]]]) -> None:
    """What a file imports, without what every Protobuf has."""
    for other in file.dependencies:
        if not other.name.startswith("google/protobuf/") and other.name not in found:
            _collect(other, found)
            found[other.name] = (other.name, _encoded(other), [one.name for one in other.dependencies])


@overload
def protobuf(type: type[T], *, schema: str | None = None) -> Unregistered[T]: ...
@overload
def protobuf(type: type[T], *, schema: str | None = None, registry: str | SchemaRegistry) -> Registered[T]: ...
def protobuf(
    type: type[T], *, schema: str | None = None, registry: str | SchemaRegistry | None = None
) -> Unregistered[T] | Registered[T]:
    """Protocol Buffers. The records are messages of a generated class. Needs protobuf.

    Fields that the class does not know are kept in the message, and those that were not written have their defaults. With a
    registry each payload names its schema and the message in it; a payload of another message is a bad record.

    Args:
        type: the message class, from a `_pb2` module.
        schema: what is registered: the text of the .proto file; its descriptor when left out.
        registry: a `SchemaRegistry`, or its url. None: payloads are bare.

    Raises:
        ValueError: `type` is no message class, or is not in `schema`.
        ImportError: protobuf is not installed; names the extra.
    """
    language: Protobuf[T] = Protobuf(type, schema)
    if registry is not None:
        return Registered(language, SchemaRegistry.of(registry))
    return Unregistered(language, language.decoding(), language.encoding(b""))
