"""Pairs of all records of two streams that have the same key, however far they are from each other in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .batch import Batch
from .changes import Change, ChangeKind
from .errors import FAILED, OnError, check_on_error
from .joined import How, Joined, Pairs, check_how
from .kept_rows import KeptRows
from .operator import MultiInputOperator, OperatorContext
from .state import StateDescriptor
from .time import Duration


class RegularJoin(MultiInputOperator[Any]):
    """Gives out each pair of a left and a right record that have the same key, whenever they come.

    A pair comes as soon as both are there, with timestamp, key and origin of the record that caused it. While both sides
    are plain records and `how` is `inner`, pairs are plain records too. Otherwise what comes out is an update stream, for
    pairs may be taken back: with `how` other than `inner` a record without a partner comes at once, as +I, and is taken
    back by -D when its first partner comes; and where a side is an update stream itself (`left_changes`,
    `right_changes`), a row that it retracts takes its pairs with it, and leaves the other side's rows without a
    partner when it was the last. There are inserts and deletions only: an update of a row is both. A retraction of a row
    that is not there is counted as `unmatched`.

    A record costs one append and a step per pair; a retraction also a search by the row's encoding. State: every row of
    both sides, once, **for ever**, unless it is retracted or has a time to live. A row that is over its time meets nobody
    any more; what was given out with it stays, and nobody is told.

    Args:
        left_type: the type of the left rows, as they are stored.
        right_type: the same of the right.
        how: whose rows come out without a partner.
        select: makes of (left, right) the value to give out; None: a `Joined`. In an update stream equal arguments must
            give equal rows.
        left_changes: whether the left stream is an update stream.
        right_changes: the same of the right.
        left_ttl: forget a left row so long after it came, by processing time; None: never.
        right_ttl: the same of the right.
        on_error: what to do with a pair that `select` fails on. In an update stream the job fails: a change that is left
            out would make all later ones wrong.

    Raises:
        ValueError: a setting is wrong.
    """

    kind = "regular_join"
    keyed = True
    side_outputs = (FAILED,)

    def __init__(
        self,
        *,
        left_type: Any,
        right_type: Any,
        how: How = "inner",
        select: Callable[[Any, Any], Any] | None = None,
        left_changes: bool = False,
        right_changes: bool = False,
        left_ttl: Duration | None = None,
        right_ttl: Duration | None = None,
        on_error: OnError = "fail",
    ) -> None:
        check_how(how, "regular_join")
        check_on_error(on_error)
        self.how = how
        self.select = select
        self.on_error = on_error
        self.gives_changes = how != "inner" or left_changes or right_changes
        """Whether what comes out is an update stream."""
        if self.gives_changes and on_error != "fail":
            raise ValueError(
                "regular_join gives an update stream here, and a change that is left out would make all later ones wrong: "
                "leave on_error out"
            )
        self._make: Callable[[Any, Any], Any] = select or Joined
        self._takes_changes = (left_changes, right_changes)
        self._rows = (
            KeptRows("left", left_type, ttl=left_ttl, flagged=how in ("left", "outer"), removable=left_changes),
            KeptRows("right", right_type, ttl=right_ttl, flagged=how in ("right", "outer"), removable=right_changes),
        )

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return [state for rows in self._rows for state in rows.states()]

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._pairs = Pairs(self.select, self.on_error, context)
        self._sides = [rows.opened(context) for rows in self._rows]

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Any] | None:
        self._check_kind(index, batch)
        return self._changes(index, batch) if self.gives_changes else self._plain(index, batch)

    def _plain(self, index: int, batch: Batch[Any]) -> Batch[Any] | None:
        keys, values = batch.keys, batch.values
        assert keys is not None
        self._sides[index].add_many(keys, values)
        pairs: list[Joined[Any, Any]] = []
        indices: list[int] = []
        for i, others in self._sides[1 - index].rows_of(keys):
            value = values[i]
            pairs += [Joined(value, o) for o in others] if index == 0 else [Joined(o, value) for o in others]
            indices += [i] * len(others)
        return self._pairs.give_out(batch.take(indices).with_values(pairs)) if pairs else None

    def _changes(self, index: int, batch: Batch[Any]) -> Batch[Change[Any]] | None:
        keys = batch.keys
        assert keys is not None
        takes_changes, make = self._takes_changes[index], self._make
        found: list[Change[Any]] = []
        indices: list[int] = []
        for i, (key, value) in enumerate(zip(keys, batch.values, strict=True)):
            try:
                if not takes_changes:
                    told = self._added(index, key, value)
                elif value.adds:
                    told = self._added(index, key, value.value)
                else:
                    told = self._removed(index, key, value.value)
                for kind, own, other in told:
                    found.append(Change(kind, make(own, other) if index == 0 else make(other, own)))
                    indices.append(i)
            except Exception as error:
                raise self._context.record_error(error, batch, i) from error
        return batch.take(indices).with_values(found) if found else None

    def _added(self, index: int, key: Any, row: Any) -> Iterator[tuple[ChangeKind, Any, Any]]:
        """What a new row changes: (what has happened, its own side's row, the other's)."""
        mine, others = self._sides[index], self._sides[1 - index]
        alone = True
        for other, was_alone in others.mark(key, alone=False) if others.flagged else _unflagged(others.rows(key)):
            alone = False
            if was_alone:
                yield ChangeKind.DELETE, None, other
            yield ChangeKind.INSERT, row, other
        if alone and mine.flagged:
            yield ChangeKind.INSERT, row, None
        mine.add(key, row, alone=alone)

    def _removed(self, index: int, key: Any, row: Any) -> Iterator[tuple[ChangeKind, Any, Any]]:
        """What is changed by a row that is gone."""
        mine, others = self._sides[index], self._sides[1 - index]
        try:
            alone = mine.remove(key, row)
        except LookupError:
            self._context.count("unmatched")
            return
        if alone:
            yield ChangeKind.DELETE, row, None
            return
        was_last = others.flagged and not mine.any(key)
        for other, _ in others.mark(key, alone=True) if was_last else _unflagged(others.rows(key)):
            yield ChangeKind.DELETE, row, other
            if was_last:
                yield ChangeKind.INSERT, None, other

    def _check_kind(self, index: int, batch: Batch[Any]) -> None:
        is_change = type(batch.values[0]) is Change
        if is_change and not self._takes_changes[index]:
            raise TypeError(
                f"regular_join got changes on the {self.inputs[index]} side where it was told nothing of them, and would "
                "join what they take back: say the type of the records, with a return annotation such as Change[Row] on "
                "the function that makes them"
            )
        if self._takes_changes[index] and not is_change:
            raise TypeError(
                f"regular_join got {type(batch.values[0]).__name__} on the {self.inputs[index]} side, whose type says that "
                "its records are changes"
            )


def _unflagged(rows: Sequence[Any]) -> Iterator[tuple[Any, bool]]:
    return ((row, False) for row in rows)
