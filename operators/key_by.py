"""A key for each record."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar, get_type_hints

from .batch import Batch
from .errors import FAILED, Failure, Guard, OnError, check_on_error, without
from .fields import read_all
from .operator import Operator, OperatorContext

T = TypeVar("T")

Key: TypeAlias = Callable[[T], Any] | str | Sequence[str]

_HASHABLE: Final = frozenset(
    {
        *(str, int, bytes, bool, float, type(None), uuid.UUID, decimal.Decimal),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
    }
)
"""Types of which every value has a hash, so that their values need not be tried."""


class KeyBy(Operator[T, T]):
    """Gives each record a key. Values, timestamps and origin stay; an earlier key goes.

    A field name reads the attribute of that name (dots lead to attributes of attributes), or the entry of
    that name where records are mappings. Several names give a tuple.

    A record costs one call or read, and where the type of its key does not say that it is hashable, one hash. No state.

    Args:
        key: a function from value to key, a field name, or several field names. Keys must be hashable.
        on_error: what to do with a record that has no key: the function fails, the field is missing, the key
            is not hashable.
        record_type: the type of the records, where it is known: plain fields then need no look at their values.

    Raises:
        ValueError: there is no field name or it is empty, or `on_error` is not a policy.
    """

    kind = "key_by"
    side_outputs = (FAILED,)

    def __init__(self, key: Key[T], *, on_error: OnError = "fail", record_type: Any = None) -> None:
        check_on_error(on_error)
        self.on_error = on_error
        self.key = key
        self.fields: tuple[str, ...] | None = None
        """The field names it was given; None for a function."""
        self._key_of = key_function(key)
        if not callable(key):
            self.fields = (key,) if isinstance(key, str) else tuple(key)
        self._always_hashable = _hashable_fields(record_type, self.fields)

    def open(self, context: OperatorContext) -> None:
        self._guard = Guard(self.on_error, context)
        fields = self.fields
        self._all_at_once = None if fields is None else read_all(fields, as_tuples=not isinstance(self.key, str))

    def process(self, batch: Batch[T]) -> Batch[T] | None:
        keys: list[Any]
        kept = None
        if self._all_at_once is None:
            keys, kept = self._guard.apply(self._key_of, batch)
        else:
            try:
                keys = self._all_at_once(batch.values)
            except Exception:
                # Reading fields again does no harm, and finds the record that has none.
                keys, kept = self._guard.apply(self._key_of, batch)
        if kept is not None:
            if not kept:
                return None
            batch = batch.take(kept)
        if not self._always_hashable and not _HASHABLE.issuperset(map(type, keys)):
            failures = _unhashable(keys)
            if failures:
                self._guard.reject(batch, failures)
                kept = without(len(keys), failures)
                if not kept:
                    return None
                batch = batch.take(kept)
                keys = [keys[index] for index in kept]
        return batch.with_keys(keys)


def key_function(key: Key[T], kind: str = "key_by") -> Callable[[T], Any]:
    """What gives the key of a record.

    Args:
        key: a function, a field name, or several field names.
        kind: who asks, for the message.

    Raises:
        ValueError: there is no field name or it is empty.
    """
    if callable(key):
        return key
    fields = (key,) if isinstance(key, str) else tuple(key)
    if not fields or not all(isinstance(name, str) and name for name in fields):
        raise ValueError(f"{kind}({key!r}): give a function, a field name, or several field names")
    return _one_by_one(fields, as_tuple=not isinstance(key, str))


def _hashable_fields(record_type: Any, fields: tuple[str, ...] | None) -> bool:
    """Whether the records' type says that the key can only be hashable."""
    if fields is None or not isinstance(record_type, type):
        return False
    try:
        hints = get_type_hints(record_type)
    except (NameError, TypeError):
        return False
    return all(hints.get(field) in _HASHABLE for field in fields)


def _one_by_one(fields: tuple[str, ...], as_tuple: bool) -> Callable[[Any], Any]:
    attributes = attrgetter(*fields)

    def key_of(value: Any) -> Any:
        if isinstance(value, Mapping):
            found = tuple([value[name] for name in fields])
            return found if as_tuple else found[0]
        key = attributes(value)
        return (key,) if as_tuple and len(fields) == 1 else key

    return key_of


def _unhashable(keys: list[Any]) -> list[Failure]:
    failures = []
    try:
        deque(map(hash, keys), maxlen=0)
    except Exception:
        for index, key in enumerate(keys):
            try:
                hash(key)
            except Exception as error:
                reason = f"the key {key!r} is not hashable ({error}): use a string, a number or a tuple"
                failures.append(Failure(index, TypeError(reason)))
    return failures
