"""Avro: one record per payload, in its binary form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any, Final, Generic, TypeVar, overload
from uuid import UUID

import msgspec

from .avro_schema import AvroSchema, for_type, name_of, schema_of
from .format import BadPayloadError, Decoded, type_name
from .json_lines import decode_each
from .registered import HEAD_BYTES, Decode, Encode, Registered, Unregistered
from .schema_registry import Schema, SchemaRegistry

T = TypeVar("T")

# What fastavro takes and gives as it is, where msgspec would make strings of it.
_NATIVE: Final = (bytes, bytearray, datetime, date, time, Decimal, UUID)


class Avro(Generic[T]):
    """Avro as a `SchemaLanguage`, and what the format without a registry is made of. See `avro`."""

    kind = "AVRO"
    suffix = ".avro"

    def __init__(self, type: Any, schema: AvroSchema | None, namespace: str | None) -> None:
        self.type = type
        self._given = schema is not None
        written = schema if schema is not None else None if type is None else schema_of(type, namespace)
        self.schema = None if written is None else json.dumps(written)
        self.record_name = None if written is None else name_of(written)
        self._reader = None if written is None else self._parsed(written)  # a wrong schema is found at once

    def imports(self) -> Sequence[tuple[str, str, Sequence[str]]]:
        return ()

    def _parsed(self, schema: AvroSchema, imports: Sequence[tuple[str, str]] = ()) -> Any:
        """A schema as fastavro wants it, reading into the type."""
        try:
            import fastavro
        except ImportError as error:
            raise ImportError('Avro needs fastavro: install "tidegate[avro]"') from error

        named: dict[str, Any] = {}
        try:
            for _, text in imports:
                fastavro.parse_schema(json.loads(text), named)
            if self.type is not None:
                schema = for_type(schema, msgspec.inspect.type_info(self.type))
            parsed = fastavro.parse_schema(schema, named)
        except Exception as error:
            raise ValueError(f"it is no Avro schema: {type(error).__name__}: {error}") from error
        # A union of imported records only names them, and would lose what they are.
        return (
            [named.get(branch, branch) if isinstance(branch, str) else branch for branch in parsed]
            if isinstance(parsed, list)
            else parsed
        )

    def decoder(self, schema: Schema) -> Decode[T]:
        return self.decoding(self._parsed(_loaded(schema.text), schema.imports), HEAD_BYTES)

    def decoding(self, writer: Any, skip: int) -> Decode[T]:
        """What decodes payloads written in a parsed schema, without the first bytes."""
        from fastavro import schemaless_reader
        from fastavro.schema import to_parsing_canonical_form

        # Where only a type is given, msgspec resolves: by field names, with the defaults of the type.
        reader = self._reader if self._given else None
        if reader is not None and to_parsing_canonical_form(writer) == to_parsing_canonical_form(reader):
            reader = None
        type_, many = self.type, list[self.type]  # type: ignore[name-defined]  # a type at run time

        def read(payload: bytes) -> Any:
            file = BytesIO(payload)
            file.seek(skip)
            value = schemaless_reader(file, writer, reader)
            left = len(payload) - file.tell()
            if left:
                raise BadPayloadError(f"{left} bytes are left over behind the record: it was written in another schema")
            return value

        def read_typed(payload: bytes) -> T:
            value: T = msgspec.convert(read(payload), type_)
            return value

        one = read if type_ is None else read_typed

        def decode(payloads: Sequence[bytes]) -> Decoded[T]:
            try:
                values = [read(payload) for payload in payloads]
                return Decoded(values if type_ is None else msgspec.convert(values, many))
            except Exception:
                return decode_each(payloads, one)

        return decode

    def encoder(self, schema: Schema, head: bytes) -> Encode[T]:
        return self.encoding(self._parsed(_loaded(schema.text), schema.imports), head)

    def encoding(self, writer: Any, head: bytes) -> Encode[T]:
        """What encodes values in a parsed schema, each behind `head`."""
        from fastavro import schemaless_writer

        def encode(values: Sequence[T]) -> list[bytes]:
            plain = msgspec.to_builtins(values, builtin_types=_NATIVE)
            payloads = []
            try:
                for value in plain:
                    file = BytesIO()
                    file.write(head)
                    schemaless_writer(file, writer, value, strict_allow_default=True)
                    payloads.append(file.getvalue())
            except (TypeError, ValueError, OverflowError):
                raise
            except Exception as error:
                raise ValueError(f"{type(error).__name__}: {error}") from error
            return payloads

        return encode

    def describe(self) -> str:
        return f"avro({type_name(self.type)})"


def _loaded(text: str) -> AvroSchema:
    # A primitive may stand as it is, without the quotes of JSON.
    try:
        schema: AvroSchema = json.loads(text)
    except ValueError:
        schema = text.strip()
    return schema


Given = str | Mapping[str, Any] | Sequence[Any] | None


@overload
def avro(type: type[T], *, schema: Given = None, namespace: str | None = None) -> Unregistered[T]: ...
@overload
def avro(
    type: type[T], *, schema: Given = None, namespace: str | None = None, registry: str | SchemaRegistry
) -> Registered[T]: ...
@overload
def avro(type: Any = None, *, schema: Given = None, namespace: str | None = None) -> Unregistered[Any]: ...
@overload
def avro(
    type: Any = None, *, schema: Given = None, namespace: str | None = None, registry: str | SchemaRegistry
) -> Registered[Any]: ...
def avro(
    type: Any = None,
    *,
    schema: Given = None,
    namespace: str | None = None,
    registry: str | SchemaRegistry | None = None,
) -> Unregistered[Any] | Registered[Any]:
    """Avro, typed and checked by msgspec. Needs fastavro.

    With a registry each payload names its schema, and is read in the schema in which it was written: fields that the type
    does not have are left out, those that were not written get the type's defaults. With `schema` as well, Avro's own rules
    of resolution bring what was written into that schema first, aliases and defaults included.

    Args:
        type: what each record is: a `msgspec.Struct`, a dataclass, a TypedDict, or a type of one value such as `str`;
            None for dicts.
        schema: what is written, as JSON text or as its Python form; derived from the type when left out. Without either,
            what is written is the registry's latest.
        namespace: of a derived schema's records.
        registry: a `SchemaRegistry`, or its url. None: payloads are bare, all in one schema.

    Raises:
        ValueError: there is neither type nor schema nor registry, the schema is wrong, or a field's type has nothing in
            Avro; names the field.
        ImportError: fastavro is not installed; names the extra.

    >>> avro(list[int]).encode_messages([[1, 2]])
    [b'\\x04\\x02\\x04\\x00']
    """
    given: Any = _loaded(schema) if isinstance(schema, str) else schema
    language: Avro[Any] = Avro(type, given, namespace)
    if registry is not None:
        return Registered(language, SchemaRegistry.of(registry))
    if language.schema is None:
        raise ValueError("avro: give a type, a schema or a registry: bare payloads do not say what they hold")
    return Unregistered(language, language.decoding(language._reader, 0), language.encoding(language._reader, b""))
