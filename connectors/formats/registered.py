"""Formats of schema languages: with a registry each payload names its schema, without one none does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from .format import RAW_LIMIT_BYTES, Blocking, Decoded, Part, Undecodable, reason_of
from .schema_registry import Reference, Schema, SchemaRegistry, SchemaRegistryError

T = TypeVar("T")

HEAD_BYTES: Final = 5
"""A zero byte and the schema's id, four bytes big endian; then the record."""

_HOLE: Final = object()

Decode = Callable[[Sequence[bytes]], Decoded[T]]
Encode = Callable[[Sequence[T]], list[bytes]]


class SchemaLanguage(Protocol[T]):
    """What the three languages do differently: Avro, Protobuf, JSON Schema.

    Attributes:
        kind: its name in a registry.
        type: the type of the records; None when it is not known.
        suffix: the usual end of a file name.
        schema: the schema that is written, as text; None when there is none but the registry's.
        record_name: the full name of the record in `schema`; None when it has no name.
    """

    kind: str
    type: Any
    suffix: str
    schema: str | None
    record_name: str | None

    def imports(self) -> Sequence[tuple[str, str, Sequence[str]]]:
        """Name, text and names of its own imports of everything that `schema` imports, those imported first in front."""
        ...

    def decoder(self, schema: Schema) -> Decode[T]:
        """What decodes payloads, heads included, that were written in a schema.

        Raises:
            ValueError: nothing written in this schema can be decoded; says why.
        """
        ...

    def encoder(self, schema: Schema, head: bytes) -> Encode[T]:
        """What encodes values in a schema, each behind `head`.

        Raises:
            ValueError: records of this type cannot be written in this schema; says why.
        """
        ...

    def describe(self) -> str:
        """What a plan shows."""
        ...


class Registered(Generic[T]):
    """A format whose schemas are in a registry: a `RegisteredFormat`. See `avro`, `protobuf` and `json_schema`."""

    def __init__(self, language: SchemaLanguage[T], registry: SchemaRegistry) -> None:
        self.type = language.type
        self.suffix = language.suffix
        self.registry = registry
        self._language = language
        self._topic: str | None = None
        self._part: Part = "value"
        self._decoders: dict[bytes, Decode[T]] = {}
        self._refused: dict[bytes, str] = {}
        self._encode: Encode[T] | None = None

    def for_topic(self, topic: str, part: Part) -> Registered[T]:
        bound = Registered(self._language, self.registry)
        bound._topic, bound._part = topic, part
        bound._decoders, bound._refused = self._decoders, self._refused
        return bound

    async def prepare_decode(self, payloads: Sequence[bytes], blocking: Blocking) -> None:
        # Refused heads are asked for again: the registry may have learned of the schema since.
        for head in {payload[:HEAD_BYTES] for payload in payloads} - self._decoders.keys():
            if _is_head(head):
                await self._learn(head, blocking)

    async def _learn(self, head: bytes, blocking: Blocking) -> None:
        id = int.from_bytes(head[1:], "big")
        schema = self.registry.known(id)
        if schema is None:
            try:
                schema = await blocking(self.registry.fetch, id)
            except SchemaRegistryError as error:
                raise self._at_topic(error) from error
        if schema is None:
            self._refused[head] = f"schema {id} is not in the registry {self.registry.url}"
            return
        try:
            if schema.kind != self._language.kind:
                raise ValueError(f"it is {schema.kind}, not {self._language.kind}")
            self._decoders[head] = self._language.decoder(schema)
        except Exception as error:
            reason = str(error) if type(error) is ValueError else reason_of(error)
            self._refused[head] = f"schema {id} cannot be used: {reason}"

    async def prepare_encode(self, blocking: Blocking) -> None:
        if self._encode is None:
            try:
                id, schema = await blocking(self._written)
                self._encode = self._language.encoder(schema, b"\0" + id.to_bytes(4, "big"))
            except SchemaRegistryError as error:
                raise self._at_topic(error) from error
            except ValueError as error:
                where = f"topic {self._topic!r}, {self._part}: " if self._topic else ""
                raise SchemaRegistryError(f"{where}{self._language.describe()}: {error}", retriable=False) from error

    def _written(self) -> tuple[int, Schema]:
        """Id and schema of what is written. Waits for the network."""
        language, registry = self._language, self.registry
        subject = registry.subject(self._topic, self._part, language.record_name)
        if registry.on_write == "latest" or language.schema is None:
            id, schema = registry.latest(subject)
            if schema.kind != language.kind:
                raise ValueError(f"subject {subject!r} has a schema of {schema.kind}, not {language.kind}")
            return id, schema
        store = registry.register if registry.on_write == "register" else registry.lookup
        imported: dict[str, Reference] = {}
        texts: dict[str, str] = {}
        for name, text, needs in language.imports():
            part = Schema(language.kind, text, tuple(imported[need] for need in needs if need in imported))
            store(name, part)
            imported[name] = Reference(name, name, registry.version(name, part))
            texts[name] = text
        schema = Schema(language.kind, language.schema, tuple(imported.values()))
        return store(subject, schema), Schema(schema.kind, schema.text, schema.references, tuple(texts.items()))

    def _at_topic(self, error: SchemaRegistryError) -> SchemaRegistryError:
        if self._topic is None:
            return error
        return SchemaRegistryError(f"topic {self._topic!r}, {self._part}: {error}", retriable=error.retriable)

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[T]:
        heads = {payload[:HEAD_BYTES] for payload in payloads}
        if len(heads) == 1:
            whole = self._decoders.get(heads.pop())
            if whole is not None:
                return whole(payloads)
        return self._decode_mixed(payloads)

    def _decode_mixed(self, payloads: Sequence[bytes]) -> Decoded[T]:
        """Payloads of several schemas, or of none: each kind in bulk, and every value back in its place."""
        places: dict[bytes, list[int]] = {}
        for index, payload in enumerate(payloads):
            places.setdefault(payload[:HEAD_BYTES], []).append(index)
        slots: list[Any] = [_HOLE] * len(payloads)
        undecodable: list[Undecodable] = []
        for head, indexes in places.items():
            decode = self._decoders.get(head)
            if decode is None:
                reason = self._why_not(head)
                undecodable += [Undecodable(i, bytes(payloads[i][:RAW_LIMIT_BYTES]), reason) for i in indexes]
                continue
            decoded = decode([payloads[i] for i in indexes])
            starts = range(len(indexes)) if decoded.starts is None else decoded.starts
            for start, value in zip(starts, decoded.values, strict=True):
                slots[indexes[start]] = value
            undecodable += [Undecodable(indexes[bad.start], bad.raw, bad.reason) for bad in decoded.undecodable]
        undecodable.sort(key=lambda bad: bad.start)
        starts = [i for i, value in enumerate(slots) if value is not _HOLE]
        return Decoded([slots[i] for i in starts], starts, undecodable)

    def _why_not(self, head: bytes) -> str:
        if not _is_head(head):
            if len(head) < HEAD_BYTES:
                return f"{len(head)} bytes are too few for a payload that names its schema: 5 and more are needed"
            return f"a payload that names its schema begins with a zero byte, this one with {head[0]:#04x}"
        unprepared = f"schema {int.from_bytes(head[1:], 'big')} was not fetched: await prepare_decode first"
        return self._refused.get(head, unprepared)

    def encode_messages(self, values: Sequence[T]) -> list[bytes]:
        if self._encode is None:
            raise RuntimeError(f"{self.describe()}: await prepare_encode first")
        return self._encode(values)

    def describe(self) -> str:
        return f"{self._language.describe()} in {self.registry.url}"


class Unregistered(Generic[T]):
    """A format without a registry: all payloads are written in one schema and do not name it. See `avro`, `protobuf` and
    `json_schema`."""

    def __init__(self, language: SchemaLanguage[T], decode: Decode[T], encode: Encode[T]) -> None:
        self.type = language.type
        self.suffix = language.suffix
        self._language = language
        self._decode = decode
        self._encode = encode

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[T]:
        return self._decode(payloads)

    def encode_messages(self, values: Sequence[T]) -> list[bytes]:
        return self._encode(values)

    def describe(self) -> str:
        return self._language.describe()


def _is_head(head: bytes) -> bool:
    return len(head) == HEAD_BYTES and head[0] == 0
