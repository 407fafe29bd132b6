"""Which messages a .proto file has, and in which order: what the indexes in a payload refer to."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from .format import BadPayloadError

Indexes = tuple[int, ...]
"""The place of a message in its file: at the top, then in each message around it."""

_TOKEN: Final = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|[\w.]+|[{}=;]", re.DOTALL)


def messages_of(text: str) -> dict[Indexes, str]:
    """The full name of each message in a schema as registries keep it: the text of a .proto file, or its descriptor in
    base64.

    Raises:
        ValueError: it is neither.
    """
    try:
        descriptor = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return dict(_in_text(text))
    from google.protobuf import descriptor_pb2
    from google.protobuf.message import DecodeError

    try:
        file = descriptor_pb2.FileDescriptorProto.FromString(descriptor)
    except DecodeError as error:
        raise ValueError("it is neither the text of a .proto file nor its descriptor") from error
    return dict(_in_descriptor(file.message_type, file.package, ()))


def indexes_of(descriptor: Any, map_entries: bool = False) -> Indexes:
    """The place of a generated message in its file.

    Args:
        descriptor: of the message.
        map_entries: whether the messages that stand for the entries of maps count. They do not, for they are not in the
            text; some writers count them all the same.
    """
    around = descriptor.containing_type
    if around is None:
        return (list(descriptor.file.message_types_by_name.values()).index(descriptor),)
    nested = [one for one in around.nested_types if map_entries or not one.GetOptions().map_entry]
    return (*indexes_of(around, map_entries), nested.index(descriptor))


def _in_descriptor(messages: Sequence[Any], scope: str, place: Indexes) -> Iterator[tuple[Indexes, str]]:
    there = [message for message in messages if not message.options.map_entry]
    for index, message in enumerate(there):
        name = f"{scope}.{message.name}" if scope else message.name
        yield (*place, index), name
        yield from _in_descriptor(message.nested_type, name, (*place, index))


def _in_text(text: str) -> Iterator[tuple[Indexes, str]]:
    tokens = [token for token in _TOKEN.findall(text) if token[0] != "/"]
    package = ""
    # For each open brace: the message's name and how many messages it has so far; None for other blocks.
    open_blocks: list[tuple[str, Indexes] | None] = []
    counts: dict[Indexes, int] = {}
    for i, token in enumerate(tokens):
        if token == "package" and not open_blocks and not package:
            package = tokens[i + 1] if i + 1 < len(tokens) else ""
        elif token == "}" and open_blocks:
            open_blocks.pop()
        elif token == "{":
            open_blocks.append(_opened(tokens[max(i - 4, 0) : i], package, open_blocks, counts))
            block = open_blocks[-1]
            if block is not None:
                yield block[1], block[0]


def _opened(
    before: list[str], package: str, around: list[tuple[str, Indexes] | None], counts: dict[Indexes, int]
) -> tuple[str, Indexes] | None:
    """The message that a brace opens."""
    if len(before) >= 2 and before[-2] == "message":
        short = before[-1]
    elif len(before) >= 4 and before[-4] == "group" and before[-2] == "=":  # of proto2: a field and a message in one
        short = before[-3]
    else:
        return None
    outer = next((block for block in reversed(around) if block is not None), None)
    scope, place = outer if outer is not None else (package, ())
    index = counts.get(place, 0)
    counts[place] = index + 1
    return (f"{scope}.{short}" if scope else short), (*place, index)


def encode_indexes(indexes: Indexes) -> bytes:
    """How many there are and each of them, as zigzag varints; the first message of a file is a single zero.

    >>> encode_indexes((0,)), encode_indexes((1, 0))
    (b'\\x00', b'\\x04\\x02\\x00')
    """
    if indexes == (0,):
        return b"\0"
    return b"".join(_varint(number << 1) for number in (len(indexes), *indexes))


def decode_indexes(payload: bytes, start: int) -> tuple[Indexes, int]:
    """The indexes in a payload, and where they end.

    Raises:
        BadPayloadError: they are cut off, or are none.
    """
    count, position = _number(payload, start)
    if count == 0:
        return (0,), position
    if count > len(payload) - position:
        raise BadPayloadError("the message indexes are cut off")
    indexes = []
    for _ in range(count):
        index, position = _number(payload, position)
        indexes.append(index)
    return tuple(indexes), position


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _number(payload: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        if position >= len(payload) or shift > 35:
            raise BadPayloadError("the message indexes are cut off")
        byte = payload[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if number & 1:
        raise BadPayloadError("a message index is negative")
    return number >> 1, position
