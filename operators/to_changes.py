"""Update streams made, narrowed and left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from .batch import Batch
from .changes import Change, ChangeKind, differences
from .errors import FAILED, Guard, OnError, check_on_error
from .operator import Operator, OperatorContext
from .state import KeyedTable, KeyedTableState, StateDescriptor

T = TypeVar("T")

_DELETED: Final = object()


class ToChanges(Operator[Any, Change[Any]]):
    """An update stream of the newest record of each key.

    The first record of a key is an insert, a further one an update (-U with the row as it was, +U with the row as it is
    now), one that equals the row before it is dropped and counted as `unchanged`. A record for which `deleted` is true
    deletes the row.

    Changes themselves may come in, of which some may be missing or doubled: +I and +U say what the row is now, -D that
    it is gone, and -U is passed over, for what the row was is known. So a log with upserts only, or one read again from
    an earlier offset, becomes a whole update stream.

    A record costs one lookup and one comparison. State: one row per key that is not deleted, for ever.

    Args:
        deleted: whether a record says that the row of its key is gone; None: None says so.
        type: the type of the rows, for storing them; None: numbers, strings, lists and dicts of them.
        on_error: what to do with a record that `deleted` fails on.

    Raises:
        ValueError: `on_error` is not a policy.
    """

    kind = "to_changes"
    keyed = True
    side_outputs = (FAILED,)

    def __init__(
        self, *, deleted: Callable[[Any], object] | None = None, type: Any = None, on_error: OnError = "fail"
    ) -> None:
        check_on_error(on_error)
        self.on_error = on_error
        self._deleted = deleted
        self._rows_state: KeyedTableState[Any] = KeyedTableState("rows", Any if type is None else type)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return (self._rows_state,)

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._guard = Guard(self.on_error, context)
        self._rows: KeyedTable[Any, Any] = context.state(self._rows_state)

    def process(self, batch: Batch[Any]) -> Batch[Change[Any]] | None:
        rows, known = self._guard.apply(self._row, batch)
        if known is not None:
            batch = batch.take(known)
        keys = batch.keys
        assert keys is not None
        table, live = self._rows, self._rows.live
        results: list[Change[Any]] = []
        indices: list[int] = []
        unchanged = 0
        for index, (key, row) in enumerate(zip(keys, rows, strict=True)):
            if row is None:
                continue
            before = live.get(key)
            if before is None:
                before = table.get(key)
            after = None if row is _DELETED else row
            given = differences(before, after)
            if not given:
                unchanged += 1
                continue
            if after is None:
                table.remove(key)
            else:
                table.put(key, after)
            results += given
            indices += [index] * len(given)
        if unchanged:
            self._context.count("unchanged", unchanged)
        return batch.take(indices).with_values(results) if results else None

    def _row(self, value: Any) -> Any:
        """What the row is from now on; `_DELETED` for none, None where the record says nothing."""
        if isinstance(value, Change):
            if value.kind is ChangeKind.UPDATE_BEFORE:
                return None
            if value.kind is ChangeKind.DELETE:
                return _DELETED
            value = value.value
        if value is None or (self._deleted is not None and self._deleted(value)):
            return _DELETED
        return value


class ToUpserts(Operator[Change[T], Change[T]]):
    """Drops what a reader who knows rows by their key does not need: the rows as they were before an update. Inserts,
    updates and deletions stay. A record costs one comparison. No state."""

    kind = "to_upserts"

    def process(self, batch: Batch[Change[T]]) -> Batch[Change[T]] | None:
        mask = [change.kind is not ChangeKind.UPDATE_BEFORE for change in batch.values]
        if False not in mask:
            return batch
        kept = batch.select(mask)
        return kept if kept.values else None


class InsertOnly(Operator[Change[T], T]):
    """The rows of an update stream that only ever inserts. An update or a deletion is an error. A record costs one
    comparison. No state.

    Args:
        on_error: what to do with a change that is no insert.

    Raises:
        ValueError: `on_error` is not a policy.
    """

    kind = "insert_only"
    side_outputs = (FAILED,)

    def __init__(self, *, on_error: OnError = "fail") -> None:
        check_on_error(on_error)
        self.on_error = on_error

    def open(self, context: OperatorContext) -> None:
        self._guard = Guard(self.on_error, context)

    def process(self, batch: Batch[Change[T]]) -> Batch[T] | None:
        rows, inserts = self._guard.apply(_inserted, batch)
        if not rows:
            return None
        return (batch if inserts is None else batch.take(inserts)).with_values(rows)


def _inserted(change: Change[T]) -> T:
    if change.kind is not ChangeKind.INSERT:
        raise ValueError(
            f"insert_only got {change.kind.value}: this stream updates or deletes rows, so take its changes as they are"
        )
    return change.value
