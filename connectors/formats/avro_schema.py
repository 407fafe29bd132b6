"""Avro schemas from Python types, and the two brought together."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import inspect as types

AvroSchema = str | dict[str, Any] | list[Any]
"""An Avro schema as JSON has it: a name, an object, or a list that is a union."""

_PRIMITIVES: Final[dict[type[types.Type], AvroSchema]] = {
    types.NoneType: "null",
    types.BoolType: "boolean",
    types.IntType: "long",
    types.FloatType: "double",
    types.StrType: "string",
    types.BytesType: "bytes",
    types.ByteArrayType: "bytes",
    types.DateTimeType: {"type": "long", "logicalType": "timestamp-micros"},
    types.DateType: {"type": "int", "logicalType": "date"},
    types.TimeType: {"type": "long", "logicalType": "time-micros"},
    types.UUIDType: {"type": "string", "logicalType": "uuid"},
}

_LISTS: Final = (types.ListType, types.VarTupleType, types.SetType, types.FrozenSetType)

_RECORDS: Final = (types.StructType, types.DataclassType, types.TypedDictType)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_PLAIN: Final = (types.IntType, types.StrType, types.BytesType, types.ByteArrayType)


def schema_of(type: Any, namespace: str | None = None) -> AvroSchema:
    """The Avro schema of a type.

    Args:
        type: a `msgspec.Struct`, a dataclass, a TypedDict, or what may be a field of one.
        namespace: of the records and enums in it.

    Raises:
        ValueError: Avro has nothing for a part of it; names the field and the remedy.
    """
    return _Derivation(namespace).schema(types.type_info(type), getattr(type, "__name__", str(type)))


class _Derivation:
    """One walk through a type. A record that was met before is only named."""

    def __init__(self, namespace: str | None) -> None:
        self.namespace = namespace
        self.names: dict[str, Any] = {}

    def schema(self, info: types.Type, where: str) -> AvroSchema:
        given = None
        while isinstance(info, types.Metadata):
            given = given or (info.extra or {}).get("avro")
            info = info.type
        if given is not None:
            return given  # type: ignore[no-any-return]  # the user's own word
        primitive = _PRIMITIVES.get(type(info))
        if primitive is not None:
            return primitive
        if isinstance(info, _LISTS):
            return {"type": "array", "items": self.schema(info.item_type, f"{where}[]")}
        if isinstance(info, types.DictType):
            if not isinstance(_bare(info.key_type), types.StrType):
                raise ValueError(f"{where}: keys of an Avro map are strings: use dict[str, ...]")
            return {"type": "map", "values": self.schema(info.value_type, f"{where}{{}}")}
        if isinstance(info, types.EnumType):
            return self._enum(info, where)
        if isinstance(info, types.LiteralType):
            return self._literal(info.values, where)
        if isinstance(info, types.UnionType):
            return self._union(info, where)
        if isinstance(info, _RECORDS):
            return self._record(info, where)
        if isinstance(info, types.DecimalType):
            remedy = '{"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2}'
            raise ValueError(
                f'{where}: a Decimal needs a precision: Annotated[Decimal, msgspec.Meta(extra={{"avro": {remedy}}})]'
            )
        what = type(info).__name__.removesuffix("Type")
        raise ValueError(
            f'{where}: Avro has nothing for {what}: give schema=, or annotate it with msgspec.Meta(extra={{"avro": ...}})'
        )

    def _record(self, info: types.StructType | types.DataclassType | types.TypedDictType, where: str) -> AvroSchema:
        if getattr(info, "array_like", False):
            raise ValueError(f"{where}: {info.cls.__name__} is array_like, an Avro record has names: use another type")
        name, known = self._named(info.cls, where)
        if known:
            return name
        record: dict[str, Any] = {"type": "record", "name": name.rpartition(".")[2], "fields": []}
        if self.namespace:
            record["namespace"] = self.namespace
        tag_field = getattr(info, "tag_field", None)
        if tag_field is not None:
            tag = info.tag  # type: ignore[union-attr]  # only structs have a tag_field
            record["fields"].append({"name": tag_field, "type": _json_type(tag), "default": tag})
        for field in info.fields:
            record["fields"].append(self._field(field, f"{where}.{field.name}"))
        return record

    def _field(self, field: types.Field, where: str) -> dict[str, Any]:
        if _NAME.fullmatch(field.encode_name) is None:
            raise ValueError(f"{where}: {field.encode_name!r} is no Avro name: letters, digits and _ only")
        schema = self.schema(field.type, where)
        entry: dict[str, Any] = {"name": field.encode_name, "type": schema}
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory in (list, set, frozenset, tuple):
            default = []
        elif default is msgspec.NODEFAULT and field.default_factory is dict:
            default = {}
        if default is msgspec.NODEFAULT or (default is not None and not _has_plain_default(schema)):
            return entry
        entry["default"] = default = msgspec.json.decode(msgspec.json.encode(default))
        if isinstance(schema, list):  # a default belongs to the first branch
            first = [branch for branch in schema if (branch == "null") == (default is None)]
            entry["type"] = [*first, *(branch for branch in schema if branch not in first)]
        return entry

    def _union(self, info: types.UnionType, where: str) -> AvroSchema:
        branches = [self.schema(branch, where) for branch in info.types]
        branches.sort(key=lambda branch: branch != "null")
        kinds = [branch["type"] if isinstance(branch, dict) else branch for branch in branches]
        if len(set(map(str, kinds))) < len(kinds) or sum(kind not in ("null", *_SCALARS) for kind in kinds) > 1:
            raise ValueError(
                f"{where}: Avro cannot tell the branches of this union apart: one list, map, record or enum may be in it, "
                "and each other type once"
            )
        return branches

    def _enum(self, info: types.EnumType, where: str) -> AvroSchema:
        values = [member.value for member in info.cls]
        if not all(isinstance(value, str) and _NAME.fullmatch(value) for value in values):
            return self._literal(values, where)
        name, known = self._named(info.cls, where)
        if known:
            return name
        enum = {"type": "enum", "name": name.rpartition(".")[2], "symbols": values}
        return {**enum, "namespace": self.namespace} if self.namespace else enum

    def _literal(self, values: Any, where: str) -> AvroSchema:
        kinds = sorted({_json_type(value) for value in values}, key=lambda kind: kind != "null")
        if "" in kinds:
            raise ValueError(f"{where}: Avro has nothing for these values: strings and integers only")
        return kinds[0] if len(kinds) == 1 else list(kinds)

    def _named(self, cls: Any, where: str) -> tuple[str, bool]:
        """The full name of a record or enum, and whether it has been defined."""
        short = re.sub(r"\W+", "_", cls.__name__).strip("_")
        name = f"{self.namespace}.{short}" if self.namespace else short
        known = self.names.setdefault(name, None)
        if known is None:
            self.names[name] = cls
            return name, False
        if known is not cls:
            raise ValueError(f"{where}: two types are called {short!r}, an Avro schema names each once: rename one")
        return name, True


_SCALARS: Final = ("boolean", "int", "long", "float", "double", "string", "bytes")


def _has_plain_default(schema: AvroSchema) -> bool:
    """Whether a default has the same form in JSON as in Python: not so for bytes, times and decimals."""
    if isinstance(schema, list):
        return all(_has_plain_default(branch) for branch in schema)
    if isinstance(schema, dict):
        return "logicalType" not in schema and schema["type"] in ("array", "map", "enum", *_SCALARS[:-1])
    return schema != "bytes"


def _json_type(value: Any) -> str:
    kinds = {str: "string", int: "long", type(None): "null", bool: "boolean"}
    return kinds.get(type(value), "")


def _bare(info: types.Type) -> types.Type:
    while isinstance(info, types.Metadata):
        info = info.type
    return info


def for_type(schema: Any, info: types.Type) -> Any:
    """A schema without the logical types that a Python type does not want: where `timestamp-millis` meets `int`, the
    number is taken as it is."""
    info = _bare(info)
    if isinstance(info, types.UnionType):
        branches = [_bare(branch) for branch in info.types if not isinstance(_bare(branch), types.NoneType)]
        if len(branches) != 1:
            return schema
        info = branches[0]
    if isinstance(schema, list):
        return [for_type(branch, info) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema["type"]
    if isinstance(kind, dict | list):  # {"type": {"type": "long", "logicalType": ...}}
        return {**schema, "type": for_type(kind, info)}
    if "logicalType" in schema and isinstance(info, _PLAIN):
        return {name: value for name, value in schema.items() if name != "logicalType"}
    if kind == "array" and isinstance(info, _LISTS):
        return {**schema, "items": for_type(schema["items"], info.item_type)}
    if kind == "map" and isinstance(info, types.DictType):
        return {**schema, "values": for_type(schema["values"], info.value_type)}
    if kind == "record" and isinstance(info, _RECORDS):
        wanted = {field.encode_name: field.type for field in info.fields}
        fields = [
            {**field, "type": for_type(field["type"], wanted[field["name"]])} if field["name"] in wanted else field
            for field in schema["fields"]
        ]
        return {**schema, "fields": fields}
    return schema


def name_of(schema: AvroSchema) -> str | None:
    """The full name of a record, enum or fixed; None for what has none."""
    if not isinstance(schema, dict) or "name" not in schema:
        return None
    name, namespace = str(schema["name"]), schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name
