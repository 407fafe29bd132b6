"""Records sorted to side outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import truth
from typing import TypeVar

from .batch import Batch
from .errors import FAILED, Guard, OnError, check_on_error
from .operator import Operator, OperatorContext

T = TypeVar("T")


class Split(Operator[T, T]):
    """Sends each record to the side output of the first predicate that is true for it; the others go on.

    A record costs one call per predicate, up to the first that is true. No state.

    Args:
        cases: side output tag → predicate, asked in this order. A predicate sees only what those before it
            left.
        on_error: what to do with a record that a predicate fails on; it goes to no other side output.

    Raises:
        ValueError: there is no case, the tag `failed` is taken for dead letters, or `on_error` is not a
            policy.
    """

    kind = "split"

    def __init__(self, cases: Mapping[str, Callable[[T], object]], *, on_error: OnError = "fail") -> None:
        check_on_error(on_error)
        if not cases:
            raise ValueError("split without a case sends nothing anywhere: give it at least one tag and predicate")
        if FAILED in cases:
            raise ValueError(f"the side output {FAILED!r} is for dead letters: choose another tag")
        self.cases = dict(cases)
        self.side_outputs = (*cases, FAILED)
        self.on_error = on_error

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._guard = Guard(self.on_error, context)

    def process(self, batch: Batch[T]) -> Batch[T] | None:
        rest = batch
        for tag, predicate in self.cases.items():
            mask, kept = self._guard.apply(predicate, rest, truth)
            if kept is not None:
                rest = rest.take(kept)
            if True not in mask:
                if not mask:
                    return None
                continue
            self._context.side_output(tag)(rest.select(mask) if False in mask else rest)
            if False not in mask:
                return None
            rest = rest.select([not matches for matches in mask])
        return rest
