"""The records of one type among several."""

from __future__ import annotations

from itertools import repeat
from typing import Any, TypeVar

from .batch import Batch
from .operator import Operator

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

    def process(self, batch: Batch[Any]) -> Batch[T] | None:
        mask = list(map(isinstance, batch.values, repeat(self.type)))
        if False not in mask:
            return batch
        return batch.select(mask) if True in mask else None
