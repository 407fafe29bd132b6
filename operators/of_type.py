"""The records of one type among several."""

from __future__ import annotations

from abc import ABCMeta
from itertools import repeat
from typing import Any, TypeVar

from .batch import Batch
from .operator import Operator, OperatorContext

T = TypeVar("T")


class OfType(Operator[Any, T]):
    """Lets pass the records of a type, as `isinstance` has it.

    A record costs one such test. No state.

    Args:
        type: a class, or a tuple of classes.

    Raises:
        ValueError: it is neither.
    """

    kind = "of-type"

    def __init__(self, type: type[T] | tuple[type[T], ...]) -> None:
        try:
            isinstance(None, type)
        except TypeError:
            raise ValueError(f"of_type takes a class or a tuple of classes, not {type!r}") from None
        self.type = type

    def open(self, context: OperatorContext) -> None:
        # Asked once per class of records: `isinstance` of a class with a metaclass takes its time to say no.
        self._passes: dict[type, bool] = {}
        self._by_class = _asks_classes_only(self.type)

    def process(self, batch: Batch[Any]) -> Batch[T] | None:
        mask = self._mask(batch.values)
        if False not in mask:
            return batch
        return batch.select(mask) if True in mask else None

    def _mask(self, values: list[Any]) -> list[bool]:
        """Which records pass."""
        if self._by_class:
            passes, kinds = self._passes, list(map(type, values))
            try:
                return list(map(passes.__getitem__, kinds))
            except KeyError:
                new = set(kinds) - passes.keys()
                self._by_class = not any(map(_says_another_class, new))
                passes.update((kind, issubclass(kind, self.type)) for kind in new)
            return self._mask(values)
        return list(map(isinstance, values, repeat(self.type)))


def _asks_classes_only(wanted: Any) -> bool:
    """Whether `isinstance` looks at the class of a record and at nothing else of it."""
    if isinstance(wanted, tuple):
        return all(map(_asks_classes_only, wanted))
    return getattr(type(wanted), "__instancecheck__", None) in (type.__instancecheck__, ABCMeta.__instancecheck__)


def _says_another_class(kind: type) -> bool:
    """Whether instances say that they are of another class, as proxies do."""
    return any("__class__" in vars(base) for base in kind.__mro__ if base is not object)
