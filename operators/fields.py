"""Reading fields of many records at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from keyword import iskeyword
from operator import attrgetter
from typing import Any


def read_all(fields: Sequence[str], *, as_tuples: bool = False) -> Callable[[Sequence[Any]], list[Any]] | None:
    """A generated comprehension over attributes, which takes half the time of an `attrgetter`; dots lead to attributes of
    attributes. None where a name is no attribute.

    Args:
        fields: what to read; one name unless `as_tuples`.
        as_tuples: give a tuple for each record.

    >>> read = read_all(["real"])
    >>> read([1, 2.5])
    [1, 2.5]
    """
    if not all(part.isidentifier() and not iskeyword(part) for name in fields for part in name.split(".")):
        return None
    reads = ", ".join(f"v.{name}" for name in fields)
    code = f"lambda values: [{f'({reads},)' if as_tuples else reads} for v in values]"
    read: Callable[[Sequence[Any]], list[Any]] = eval(code, {})
    return read


def reader(field: str | Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    """A function that reads a field of one record: an attribute, or an entry of a dict; dots lead on. A callable is
    itself, None reads the record.

    >>> reader("real")(2.5), reader("a.b")({"a": {"b": 1}})
    (2.5, 1)
    """
    if field is None:
        return _itself
    if callable(field):
        return field
    attribute, names = attrgetter(field), field.split(".")

    def read(record: Any) -> Any:
        if isinstance(record, dict):
            return reduce(_entry, names, record)
        return attribute(record)

    return read


def _itself(record: Any) -> Any:
    return record


def _entry(record: Any, name: str) -> Any:
    return record[name]
