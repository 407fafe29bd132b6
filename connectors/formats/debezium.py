"""Debezium's messages: changes of a database's rows, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from ...operators.changes import Change, ChangeKind
from .connect_schema import envelope_schema
from .format import RAW_LIMIT_BYTES, BadPayloadError, Decoded, Undecodable, reason_of, type_name

T = TypeVar("T")

_OPS: Final = {
    ChangeKind.INSERT: "c",
    ChangeKind.UPDATE_BEFORE: "d",
    ChangeKind.UPDATE_AFTER: "u",
    ChangeKind.DELETE: "d",
}


class DebeziumFormat(Generic[T]):
    """See `debezium`."""

    suffix = ".jsonl"
    has_header = False
    splittable = True

    def __init__(self, type: Any = None, *, schema: bool = False) -> None:
        row: Any = Any if type is None else type
        self.type: Any = Change if type is None else Change[type]
        self._row_type = type
        fields = [("op", str | None, None), ("before", row | None, None), ("after", row | None, None)]
        envelope: Any = msgspec.defstruct("Envelope", fields)
        message: Any = msgspec.defstruct("Message", [*fields, ("payload", envelope | None, None)])
        self._decode = msgspec.json.Decoder(message | None).decode
        self._encode = msgspec.json.Encoder().encode
        self._schema = msgspec.Raw(self._encode(envelope_schema(type))) if schema else None

    def decode_messages(self, payloads: Sequence[bytes]) -> Decoded[Change[T]]:
        return self._decode_each(enumerate(payloads))

    def decode_lines(self, block: bytes, final: bool = True) -> Decoded[Change[T]]:
        start, lines = 0, []
        for line in block.splitlines(keepends=True):
            if line.strip():
                lines.append((start, line.rstrip(b"\r\n")))
            start += len(line)
        return self._decode_each(lines)

    def encode_messages(self, values: Sequence[Change[T]]) -> list[bytes]:
        return [self._encode(self._message(change)) for change in values]

    def encode_lines(self, values: Sequence[Change[T]]) -> bytes:
        return b"".join([line + b"\n" for line in self.encode_messages(values)])

    def with_header(self, line: bytes) -> DebeziumFormat[T]:
        return self

    def header(self, values: Sequence[Change[T]]) -> bytes:
        return b""

    def describe(self) -> str:
        return f"debezium({type_name(self._row_type)})"

    def _decode_each(self, payloads: Any) -> Decoded[Change[T]]:
        starts: list[int] = []
        decoded: Decoded[Change[T]] = Decoded([], starts)
        for start, payload in payloads:
            try:
                changes = self._changes(payload)
            except Exception as error:
                decoded.undecodable.append(Undecodable(start, bytes(payload[:RAW_LIMIT_BYTES]), reason_of(error)))
            else:
                decoded.values += changes
                starts += [start] * len(changes)
        return decoded

    def _changes(self, payload: bytes) -> list[Change[T]]:
        message = self._decode(payload)
        if message is None:
            return []
        envelope = message.payload or message
        op, before, after = envelope.op, envelope.before, envelope.after
        if op in ("c", "r", "u") and after is not None:
            if op != "u":
                return [Change(ChangeKind.INSERT, after)]
            now = Change(ChangeKind.UPDATE_AFTER, after)
            return [now] if before is None else [Change(ChangeKind.UPDATE_BEFORE, before), now]
        if op == "d" and before is not None:
            return [Change(ChangeKind.DELETE, before)]
        if op in ("c", "r", "u", "d"):
            missing = "before" if op == "d" else "after"
            raise BadPayloadError(f"op {op!r} without {missing!r}: have the database log whole rows")
        raise BadPayloadError(f"op {op!r} tells of no row" if op else "no 'op': this is no message of Debezium")

    def _message(self, change: Change[T]) -> dict[str, Any]:
        if not isinstance(change, Change):
            raise TypeError(f"debezium writes changes, not {type(change).__name__}: make them with to_changes()")
        adds = change.adds
        envelope = {
            "before": None if adds else change.value,
            "after": change.value if adds else None,
            "op": _OPS[change.kind],
        }
        return envelope if self._schema is None else {"schema": self._schema, "payload": envelope}


def debezium(type: Any = None, *, schema: bool = False) -> DebeziumFormat[Any]:
    """Debezium's JSON messages as an update stream of rows, and back.

    Read are messages with and without the `schema` wrapper. A created row, or one read in the first snapshot, is +I; an
    update is -U and +U, or +U alone where the database does not log the row before (`to_changes()` then supplies it); a
    deletion is -D. A tombstone (`null`) gives nothing. A message that tells of no row, such as a truncation, is a bad
    record.

    Each change is written as a message of its own, for what belongs to an update may be far apart: +I as `c`, -U and -D as
    `d`, +U as `u` without `before`. Put `to_upserts()` before the sink and the deletion within each update falls away.

    Args:
        type: what each row is: a `msgspec.Struct`, a dataclass, a TypedDict, `dict`...; None for plain Python values.
        schema: write each message in the `schema` wrapper that Kafka Connect's JsonConverter asks for by default.

    Raises:
        ValueError: `schema` is asked for and the type cannot be described.

    >>> message = b'{"op": "u", "before": {"n": 1}, "after": {"n": 2}}'
    >>> [(change.kind.value, change.value) for change in debezium().decode_messages([message]).values]
    [('-U', {'n': 1}), ('+U', {'n': 2})]
    """
    return DebeziumFormat(type, schema=schema)
