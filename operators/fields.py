"""Reading fields of many records at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from keyword import iskeyword
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
