"""Lists of values of any type as bytes: the values and keys of records that a checkpoint finds in flight.

Nobody has declared the types of records on their way, so each list says what it holds. Plain values are written as they
are, records of one class (a Struct, a dataclass, a NamedTuple) by their class, once for the list, and everything else tag by
tag. What would not come back as it was is refused when it is written. Classes are found by name among the modules that are
imported already and among the record types of the topology; nothing is imported, and no code is in the bytes.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import chain
from typing import Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from ..errors import StateTypeError
from ..state.schema import schema_difference, schema_text

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_tuples = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode

_SCALARS: Final = frozenset({str, int, float, bool, bytes, type(None)})
_INT64: Final = range(-(1 << 63), 1 << 64)
_NOT_EXACT: Final = re.compile(r"\b(any|datetime|time)\b")
"""Types that msgpack alone does not give back as they were: a datetime loses its zone."""


class UnrecordableError(Exception):
    """A value that would not come back as it is.

    Attributes:
        type_name: its type.
    """

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        super().__init__(f"a {type_name} cannot be recorded")


class RecordedList(msgspec.Struct, array_like=True, frozen=True):
    """A list of values.

    Attributes:
        form: `plain`; `tuples` of plain values; `records` of one class; `tagged`.
        data: msgpack.
        kind: the class of `records`, an index into the types.
    """

    form: Literal["plain", "tuples", "records", "tagged"]
    data: msgspec.Raw
    kind: int = 0


class RecordedType(msgspec.Struct, array_like=True, frozen=True):
    """A class that recorded values are of.

    Attributes:
        name: `module:qualified.name`; `@operator` for the record type of an operator, where that has no such name.
        shape: the canonical text of its fields; empty where only the name matters.
    """

    name: str
    shape: str = ""


class ValuesEncoder:
    """Encodes the values of one edge.

    Args:
        record_types: the record types of the topology by operator id: classes that were made when it was built have no
            other name.

    Attributes:
        types: the classes met so far.

    >>> encoder = ValuesEncoder({})
    >>> values = [1, None, (2, "a"), {3}, Decimal("4.50")]
    >>> ValuesDecoder(encoder.types, {}, "edge").decode(encoder.encode(values)) == values
    True
    """

    def __init__(self, record_types: Mapping[str, Any]) -> None:
        self.types: list[RecordedType] = []
        self._record_types = record_types
        self._kinds: dict[type, int] = {}
        self._quick: dict[type, Callable[[bytes], Any] | None] = {}

    def encode(self, values: Sequence[Any]) -> RecordedList:
        """A list of values as bytes.

        Raises:
            UnrecordableError: one of them would not come back as it is.
        """
        kinds = set(map(type, values))
        try:
            if kinds <= _SCALARS or (kinds <= {list} and _flat(values)) or (kinds <= {dict} and _flat_maps(values)):
                return RecordedList("plain", msgspec.Raw(_encode(values)))
            if kinds <= {tuple} and _flat(values):
                return RecordedList("tuples", msgspec.Raw(_encode(values)))
            if len(kinds) == 1 and (records := self._records(kinds.pop(), values)) is not None:
                return records
        except (OverflowError, ValueError):
            pass  # a number or a text that msgpack does not know: tagged, it does
        try:
            return RecordedList("tagged", msgspec.Raw(_encode([self._tagged(value) for value in values])))
        except RecursionError:
            raise UnrecordableError("value that contains itself") from None

    def _records(self, kind: type, values: Sequence[Any]) -> RecordedList | None:
        """All of one class, where msgpack gives them back equal; None where it does not."""
        if not _is_record(kind):
            return None
        if kind not in self._quick:
            shape = _shape(kind)
            exact = not shape.startswith("fields ") and _NOT_EXACT.search(shape) is None
            self._quick[kind] = msgspec.msgpack.Decoder(list[kind]).decode if exact else None  # type: ignore[valid-type]  # the type is a value here
        decode = self._quick[kind]
        if decode is None:
            return None
        index = self._index(kind)
        try:
            data = _encode(values)
            back = decode(data)
            if back != values or _encode(back) != data:
                return None
        except (TypeError, ValueError, msgspec.MsgspecError):
            return None
        return RecordedList("records", msgspec.Raw(data), index)

    def _index(self, kind: type, *, shaped: bool = True) -> int:
        """The place of a class among the types.

        Raises:
            UnrecordableError: it could not be found again.
        """
        found = self._kinds.get(kind)
        if found is None:
            name = f"{kind.__module__}:{kind.__qualname__}"
            if _imported(name) is not kind:
                owners = [owner for owner, other in self._record_types.items() if other is kind]
                if not owners:
                    raise UnrecordableError(f"{kind.__module__}.{kind.__qualname__}")
                name = f"@{owners[0]}"
            found = self._kinds[kind] = len(self.types)
            self.types.append(RecordedType(name, _shape(kind) if shaped else ""))
        return found

    def _tagged(self, value: Any) -> Any:
        kind = type(value)
        if kind is int:
            return value if value in _INT64 else ["int", str(value)]
        if kind is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                return ["str", value.encode(errors="surrogatepass")]
            return value
        if kind in _SCALARS:
            return value
        name = _SEQUENCES.get(kind)
        if name is not None:
            return [name, *map(self._tagged, value)]
        if kind is dict:
            return ["dict", *map(self._tagged, chain.from_iterable(value.items()))]
        write = _WRITERS.get(kind)
        if write is not None:
            return write(value)
        if isinstance(value, Enum):
            if kind(value.value) is not value:
                raise UnrecordableError(f"{kind.__module__}.{kind.__qualname__}")
            return ["enum", self._index(kind, shaped=False), self._tagged(value.value)]
        if _is_record(kind):
            fields = _field_values(kind, value)
            if fields is not None:
                index = self._index(kind)
                if (
                    not hasattr(kind, "__post_init__")
                    or not issubclass(kind, msgspec.Struct)
                    or _made(value, kind) == value
                ):
                    return ["record", index, *map(self._tagged, fields)]
        raise UnrecordableError(f"{kind.__module__}.{kind.__qualname__}")


class ValuesDecoder:
    """Decodes what a `ValuesEncoder` wrote.

    Args:
        types: the encoder's.
        record_types: the record types of the topology by operator id, under the names in the checkpoint.
        where: names the edge in messages.

    Raises:
        StateTypeError: a class is not there any more, or has other fields.
    """

    def __init__(self, types: Sequence[RecordedType], record_types: Mapping[str, Any], where: str) -> None:
        self._where = where
        self._kinds = [self._kind(recorded, record_types) for recorded in types]

    def decode(self, recorded: RecordedList) -> list[Any]:
        """The values.

        Raises:
            StateTypeError: they do not fit their classes any more.
        """
        data = bytes(recorded.data)
        try:
            if recorded.form == "plain":
                return _decode(data)  # type: ignore[no-any-return]  # a list was encoded
            if recorded.form == "tuples":
                return _decode_tuples(data)
            if recorded.form == "records":
                kind = self._kinds[recorded.kind]
                return msgspec.msgpack.Decoder(list[kind]).decode(data)  # type: ignore[valid-type]  # the type is a value here
            return [self._untagged(value) for value in _decode(data)]
        except (TypeError, ValueError, msgspec.MsgspecError) as error:
            raise StateTypeError(
                f"records in flight on {self._where} cannot be read any more: {error}; {_REMEDY}"
            ) from error

    def _kind(self, recorded: RecordedType, record_types: Mapping[str, Any]) -> Any:
        name = recorded.name
        found = record_types.get(name[1:]) if name.startswith("@") else _imported(name)
        where = f"records in flight on {self._where} are of type {name.removeprefix('@').replace(':', '.')}"
        if not isinstance(found, type):
            raise StateTypeError(f"{where}, which is not there any more; {_REMEDY}")
        if recorded.shape and (shape := _shape(found)) != recorded.shape:
            difference = schema_difference(found.__qualname__, [recorded.shape], [shape])
            raise StateTypeError(f"{where}, which has changed: {difference}; {_REMEDY}")
        return found

    def _untagged(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        tag, *rest = value
        if tag in _READERS:
            return _READERS[tag](*rest)
        if tag in _MADE_OF_ITEMS:
            return _MADE_OF_ITEMS[tag](map(self._untagged, rest))
        if tag == "dict":
            items = list(map(self._untagged, rest))
            return dict(zip(items[::2], items[1::2], strict=True))
        kind = self._kinds[rest[0]]
        if tag == "enum":
            return kind(self._untagged(rest[1]))
        return _made_of(kind, list(map(self._untagged, rest[1:])))


_REMEDY: Final = "start once with the program as it was and take a savepoint, which has nothing in flight"


def _flat(values: Sequence[Any]) -> bool:
    return _SCALARS.issuperset(map(type, chain.from_iterable(values)))


def _flat_maps(values: Sequence[Any]) -> bool:
    return _flat(values) and _SCALARS.issuperset(map(type, chain.from_iterable(value.values() for value in values)))


def _imported(name: str) -> Any:
    """What a module that is imported has under a name; None for nothing."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def _is_record(kind: type) -> bool:
    return (
        issubclass(kind, msgspec.Struct)
        or dataclasses.is_dataclass(kind)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def _shape(kind: type) -> str:
    try:
        return schema_text(kind)
    except StateTypeError:
        return f"fields {', '.join(_field_names(kind))}"


def _field_names(kind: Any) -> tuple[str, ...]:
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    if issubclass(kind, tuple):
        return tuple(kind._fields)
    return tuple(field.name for field in dataclasses.fields(kind))


def _field_values(kind: Any, value: Any) -> list[Any] | None:
    """The fields' values; None where they are not all there is."""
    names = _field_names(kind)
    beside = getattr(value, "__dict__", None)
    if beside is not None and not beside.keys() <= set(names):
        return None
    return [getattr(value, name, msgspec.UNSET) for name in names]


def _made_of(kind: Any, values: list[Any]) -> Any:
    if issubclass(kind, tuple):
        return tuple.__new__(kind, values)
    names = _field_names(kind)
    if issubclass(kind, msgspec.Struct):
        return kind(**dict(zip(names, values, strict=True)))
    made = object.__new__(kind)
    for name, value in zip(names, values, strict=True):
        object.__setattr__(made, name, value)
    return made


def _made(value: Any, kind: Any) -> Any:
    return _made_of(kind, [getattr(value, name) for name in _field_names(kind)])


def _write_moment(value: datetime | time) -> list[Any]:
    zone = value.tzinfo
    if zone is None or type(zone) is timezone:
        return [type(value).__name__, value.isoformat(), value.fold]
    if type(zone) is ZoneInfo and zone.key is not None:
        return [type(value).__name__, value.replace(tzinfo=None).isoformat(), value.fold, zone.key]
    raise UnrecordableError(f"{type(value).__name__} in the zone {zone!r}")


def _moment_reader(kind: Any) -> Callable[..., Any]:
    def read(text: str, fold: int, zone: str | None = None) -> Any:
        read = kind.fromisoformat(text).replace(fold=fold)
        return read if zone is None else read.replace(tzinfo=ZoneInfo(zone))

    return read


_SEQUENCES: Final[dict[type, str]] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
_MADE_OF_ITEMS: Final[dict[str, Callable[..., Any]]] = {name: kind for kind, name in _SEQUENCES.items()}
_WRITERS: Final[dict[type, Callable[[Any], list[Any]]]] = {
    Decimal: lambda value: ["decimal", str(value)],
    datetime: _write_moment,
    time: _write_moment,
    date: lambda value: ["date", value.isoformat()],
    timedelta: lambda value: ["timedelta", value.days, value.seconds, value.microseconds],
    UUID: lambda value: ["uuid", value.bytes],
    bytearray: lambda value: ["bytearray", bytes(value)],
    complex: lambda value: ["complex", value.real, value.imag],
    type(msgspec.UNSET): lambda value: ["unset"],
}
_READERS: Final[dict[str, Callable[..., Any]]] = {
    "int": int,
    "str": lambda data: data.decode(errors="surrogatepass"),
    "decimal": Decimal,
    "datetime": _moment_reader(datetime),
    "time": _moment_reader(time),
    "date": date.fromisoformat,
    "timedelta": timedelta,
    "uuid": lambda data: UUID(bytes=data),
    "bytearray": bytearray,
    "complex": complex,
    "unset": lambda: msgspec.UNSET,
}
