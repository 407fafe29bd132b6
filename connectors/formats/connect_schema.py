"""Types as Kafka Connect's JsonConverter describes them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

_PLAIN: Final[list[tuple[Any, dict[str, Any]]]] = [
    (msgspec.inspect.BoolType, {"type": "boolean"}),
    (msgspec.inspect.IntType, {"type": "int64"}),
    (msgspec.inspect.FloatType, {"type": "double"}),
    (msgspec.inspect.StrType, {"type": "string"}),
    (msgspec.inspect.BytesType, {"type": "bytes"}),
    (msgspec.inspect.DateTimeType, {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "version": 1}),
]


def envelope_schema(row_type: Any) -> dict[str, Any]:
    """The schema of a message about rows of a type.

    Raises:
        ValueError: the type cannot be described; names the part that cannot.
    """
    if row_type is None:
        raise ValueError("a schema describes a type: debezium(Row, schema=True)")
    row = _schema(msgspec.inspect.type_info(row_type), getattr(row_type, "__name__", str(row_type)))
    if row["type"] != "struct":
        raise ValueError(f"a schema describes rows with fields, not {row_type!r}: use a msgspec.Struct or a dataclass")
    return {
        "type": "struct",
        "optional": False,
        "name": f"{row['name']}.Envelope",
        "fields": [
            {**row, "optional": True, "field": "before"},
            {**row, "optional": True, "field": "after"},
            {"type": "string", "optional": False, "field": "op"},
        ],
    }


def _schema(info: Any, where: str) -> dict[str, Any]:
    if isinstance(info, msgspec.inspect.UnionType):
        others = [one for one in info.types if not isinstance(one, msgspec.inspect.NoneType)]
        if len(others) == 1 and len(others) < len(info.types):
            return {**_schema(others[0], where), "optional": True}
    for kind, schema in _PLAIN:
        if isinstance(info, kind):
            return {**schema, "optional": False}
    if isinstance(info, msgspec.inspect.StructType | msgspec.inspect.DataclassType):
        fields = [{**_schema(one.type, f"{where}.{one.name}"), "field": one.encode_name} for one in info.fields]
        return {"type": "struct", "optional": False, "name": info.cls.__name__, "fields": fields}
    if isinstance(info, msgspec.inspect.ListType):
        return {"type": "array", "optional": False, "items": _schema(info.item_type, f"{where}[]")}
    if isinstance(info, msgspec.inspect.DictType) and isinstance(info.key_type, msgspec.inspect.StrType):
        values = _schema(info.value_type, f"{where}{{}}")
        return {"type": "map", "optional": False, "keys": {"type": "string", "optional": False}, "values": values}
    raise ValueError(
        f"{where} cannot be described to Kafka Connect: write without schema=True, or declare another type"
    )
