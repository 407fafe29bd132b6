"""JSON that is validated against a JSON Schema: one value per payload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, overload

import msgspec

from .format import BadPayloadError, Decoded, type_name
from .json_lines import decode_each
from .registered import HEAD_BYTES, Decode, Encode, Registered, Unregistered
from .schema_registry import Schema, SchemaRegistry

T = TypeVar("T")

_USUAL: Final = "http://json-schema.org/draft-07/schema#"
_NEWEST: Final = "https://json-schema.org/draft/2020-12/schema"


class JsonSchema(Generic[T]):
    """JSON Schema as a `SchemaLanguage`, and what the format without a registry is made of. See `json_schema`."""

    kind = "JSON"
    suffix = ".json"

    def __init__(self, type: Any, schema: Any, validate: bool) -> None:
        self.type = type
        self.validates = validate
        written = schema if schema is not None else None if type is None else derived(type)
        self.schema = None if written is None else msgspec.json.encode(written).decode()
        self.record_name: str | None = written.get("title") if isinstance(written, dict) else None
        # What msgspec derived from the type, it also checks when it decodes.
        self.own = None if schema is None or not validate else validator(schema)
        self._given = schema is not None

    def imports(self) -> Sequence[tuple[str, str, Sequence[str]]]:
        return ()

    def decoder(self, schema: Schema) -> Decode[T]:
        # In the same text as our own derived schema there is nothing that the type does not check.
        if not self.validates or (not self._given and schema.text == self.schema):
            return self.decoding(None, HEAD_BYTES)
        return self.decoding(self._validator_of(schema), HEAD_BYTES)

    def _validator_of(self, schema: Schema) -> Callable[[Any], None]:
        return validator(_loaded(schema.text), {name: _loaded(text) for name, text in schema.imports})

    def decoding(self, check: Callable[[Any], None] | None, skip: int) -> Decode[T]:
        """What decodes payloads without their first bytes, and checks them."""
        type_ = self.type
        typed = msgspec.json.Decoder(Any if type_ is None else type_).decode
        plain = msgspec.json.Decoder().decode

        def unchecked(payload: bytes) -> Any:
            return typed(payload[skip:])

        def checked(payload: bytes) -> Any:
            text = payload[skip:]
            value = plain(text)
            check(value)  # type: ignore[misc]  # there is one where this is used
            # From the text again, not from the value: JSON has rules of its own for times, bytes and decimals.
            return value if type_ is None else typed(text)

        read = unchecked if check is None else checked

        def decode(payloads: Sequence[bytes]) -> Decoded[T]:
            try:
                return Decoded([read(payload) for payload in payloads])
            except Exception:
                return decode_each(payloads, read)

        return decode

    def encoder(self, schema: Schema, head: bytes) -> Encode[T]:
        if schema.text == self.schema or not self.validates:
            return self.encoding(self.own, head)
        return self.encoding(self._validator_of(schema), head)

    def encoding(self, check: Callable[[Any], None] | None, head: bytes) -> Encode[T]:
        """What encodes values that pass a check, each behind `head`."""
        write, plain = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode

        def encode(values: Sequence[T]) -> list[bytes]:
            payloads = [write(value) for value in values]
            if check is not None:
                for payload in payloads:
                    check(plain(payload))
            return [head + payload for payload in payloads] if head else payloads

        return encode

    def describe(self) -> str:
        return f"json_schema({type_name(self.type)})"


def derived(type: Any) -> dict[str, Any]:
    """The JSON Schema of a type, with the type's own object at the top, where registries look for its title."""
    schema = msgspec.json.schema(type)
    # The newest draft that registries compare reliably, unless there is a tuple of fixed length, for which it has no word.
    draft = _NEWEST if "'prefixItems'" in str(schema) else _USUAL
    schema = {"$schema": draft, **schema}
    definitions = dict(schema.get("$defs", {}))
    own = str(schema.pop("$ref", "")).removeprefix("#/$defs/")
    if own not in definitions:
        return schema
    top = definitions[own]
    if f"'#/$defs/{own}'" not in str(definitions):  # otherwise it contains itself, and stands there twice
        del definitions[own]
    schema |= top
    return {**schema, "$defs": definitions} if definitions else {k: v for k, v in schema.items() if k != "$defs"}


def validator(schema: Any, imports: Mapping[str, Any] | None = None) -> Callable[[Any], None]:
    """What raises BadPayloadError, saying where and why, for a value that a schema does not allow. Fetches nothing: a `$ref`
    leads into the schema itself or to one of `imports`.

    Raises:
        ValueError: it is no JSON Schema.
        ImportError: jsonschema-rs is not installed.
    """
    try:
        import jsonschema_rs
    except ImportError as error:
        raise ImportError('JSON Schema needs jsonschema-rs: install "tidegate[json-schema]"') from error

    def retrieve(uri: str) -> Any:
        for name, imported in (imports or {}).items():
            if uri == name or uri.endswith(f"/{name}"):
                return imported
        raise ValueError(f"{uri} is not among its references")

    try:
        check = jsonschema_rs.validator_for(schema, retriever=retrieve).validate
    except Exception as error:
        raise ValueError(f"it is no JSON Schema: {str(error).splitlines()[0]}") from error

    def validate(value: Any) -> None:
        try:
            check(value)
        except jsonschema_rs.ValidationError as error:
            where = "".join(f".{part}" if isinstance(part, str) else f"[{part}]" for part in error.instance_path)
            raise BadPayloadError(f"{error.message}, at `${where}`") from None

    return validate


def _loaded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"json_schema: the schema is no JSON: {error}") from error


Given = str | Mapping[str, Any] | bool | None


@overload
def json_schema(type: type[T], *, schema: Given = None, validate: bool = True) -> Unregistered[T]: ...
@overload
def json_schema(
    type: type[T], *, schema: Given = None, validate: bool = True, registry: str | SchemaRegistry
) -> Registered[T]: ...
@overload
def json_schema(type: Any = None, *, schema: Given = None, validate: bool = True) -> Unregistered[Any]: ...
@overload
def json_schema(
    type: Any = None, *, schema: Given = None, validate: bool = True, registry: str | SchemaRegistry
) -> Registered[Any]: ...
def json_schema(
    type: Any = None,
    *,
    schema: Given = None,
    validate: bool = True,
    registry: str | SchemaRegistry | None = None,
) -> Unregistered[Any] | Registered[Any]:
    """JSON, checked against a JSON Schema and then by the type. Needs jsonschema-rs, which knows all drafts.

    Without a registry, payloads are checked against `schema`. With one each payload names its schema and is checked against
    that: a producer that does not keep to its own schema is found out. A schema that was derived from the type is not
    checked a second time. What is written is checked against `schema`, or against the registry's latest.

    Args:
        type: what each value is, as for `json`; None for plain Python values.
        schema: what is written, as JSON text or as its Python form; derived from the type when left out. Without either,
            what is written is the registry's latest.
        validate: whether schemas are checked at all; the type always is.
        registry: a `SchemaRegistry`, or its url. None: payloads are bare JSON.

    Raises:
        ValueError: there is neither type nor schema nor registry, or the schema is wrong.
        ImportError: jsonschema-rs is not installed, its extra is named, and a schema is to be checked.
    """
    language: JsonSchema[Any] = JsonSchema(type, _loaded(schema) if isinstance(schema, str) else schema, validate)
    if registry is not None:
        return Registered(language, SchemaRegistry.of(registry))
    if language.schema is None:
        raise ValueError("json_schema: give a type, a schema or a registry; for any JSON there is json()")
    return Unregistered(language, language.decoding(language.own, 0), language.encoding(language.own, b""))
