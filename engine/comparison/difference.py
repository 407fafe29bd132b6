"""What differs between two outputs: records that are new, missing or changed. Blocking; memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .entries import Entry, alike, record_of
from .sorting import Sorter

Left = tuple[bytes, int, bytes]
"""(key, number, record): what has no twin on the other side, by key in order of arrival."""


@dataclass(frozen=True)
class ChangedRecord:
    """A record that both sides have under one key, with other content.

    Attributes:
        key: the values of the key's fields.
        old: the record as it was, as builtins.
        new: the record as it is now.
        fields: the names of what differs at its top; empty for records without fields.
    """

    key: Any
    old: Any
    new: Any
    fields: tuple[str, ...]


@dataclass(frozen=True)
class OutputDifference:
    """What differs between the old and the new output of a sink.

    Attributes:
        sink: its name.
        old_records: how many the old version wrote.
        new_records: how many the new one wrote.
        equal: records that both have.
        added: records that only the new one has.
        missing: records that only the old one has.
        changed: records that both have under one key, with other content.
        added_examples, missing_examples, changed_examples: the first of each, by key.
    """

    sink: str
    old_records: int
    new_records: int
    equal: int
    added: int
    missing: int
    changed: int
    added_examples: tuple[Any, ...] = ()
    missing_examples: tuple[Any, ...] = ()
    changed_examples: tuple[ChangedRecord, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.missing or self.changed)


class Difference:
    """Works out an `OutputDifference` from two sorted sides.

    Args:
        sink: its name.
        folder: where what is left over waits when it does not fit into memory; must exist.
        tolerance: numbers of changed records that are no further apart are equal; 0 compares exactly.
        examples: how many of each kind are kept.
        memory_bytes: how much is held at a time, about, beside what the sides hold.
    """

    def __init__(
        self, sink: str, folder: Path, *, tolerance: float = 0.0, examples: int = 10, memory_bytes: int = 64 << 20
    ) -> None:
        self._sink = sink
        self._tolerance = tolerance
        self._most = examples
        self._equal = self._added_count = self._missing_count = self._changed_count = 0
        self._old_count = self._new_count = 0
        self._added: list[Any] = []
        self._missing: list[Any] = []
        self._changed: list[ChangedRecord] = []
        folders = [folder / "left-old", folder / "left-new"]
        for made in folders:
            made.mkdir()
        self._left_old, self._left_new = [Sorter[Left](made, Left, memory_bytes // 2) for made in folders]

    def of(self, old: Iterator[Entry], new: Iterator[Entry]) -> OutputDifference:
        """The difference between two sides, each sorted."""
        self._take_twins_out(old, new)
        self._pair(self._left_old.sorted(), self._left_new.sorted())
        return OutputDifference(
            self._sink,
            self._old_count,
            self._new_count,
            self._equal,
            self._added_count,
            self._missing_count,
            self._changed_count,
            tuple(self._added),
            tuple(self._missing),
            tuple(self._changed),
        )

    def _take_twins_out(self, old: Iterator[Entry], new: Iterator[Entry]) -> None:
        a, b = next(old, None), next(new, None)
        while a is not None or b is not None:
            if a is not None and b is not None and a[:2] == b[:2]:
                self._equal += 1
                self._old_count += 1
                self._new_count += 1
                a, b = next(old, None), next(new, None)
            elif b is None or (a is not None and a[:2] < b[:2]):
                assert a is not None
                self._old_count += 1
                if a[1]:
                    self._left_old.add([(a[0], a[2], a[1])])
                else:
                    self._is_missing(a[0], a[1])
                a = next(old, None)
            else:
                self._new_count += 1
                if b[1]:
                    self._left_new.add([(b[0], b[2], b[1])])
                else:
                    self._is_added(b[0], b[1])
                b = next(new, None)

    def _pair(self, old: Iterator[Left], new: Iterator[Left]) -> None:
        """Of a key, the first that is left here belongs to the first that is left there, and so on."""
        a, b = next(old, None), next(new, None)
        while a is not None or b is not None:
            if a is not None and b is not None and a[0] == b[0]:
                self._is_pair(a[0], a[2], b[2])
                a, b = next(old, None), next(new, None)
            elif b is None or (a is not None and a[0] < b[0]):
                assert a is not None
                self._is_missing(a[0], a[2])
                a = next(old, None)
            else:
                self._is_added(b[0], b[2])
                b = next(new, None)

    def _is_pair(self, key: bytes, old_text: bytes, new_text: bytes) -> None:
        old, new = record_of(key, old_text), record_of(key, new_text)
        if alike(old, new, self._tolerance):
            self._equal += 1
            return
        self._changed_count += 1
        if len(self._changed) < self._most:
            self._changed.append(ChangedRecord(msgspec.json.decode(key), old, new, _fields(old, new, self._tolerance)))

    def _is_missing(self, key: bytes, text: bytes) -> None:
        self._missing_count += 1
        if len(self._missing) < self._most:
            self._missing.append(record_of(key, text))

    def _is_added(self, key: bytes, text: bytes) -> None:
        self._added_count += 1
        if len(self._added) < self._most:
            self._added.append(record_of(key, text))


def _fields(old: Any, new: Any, tolerance: float) -> tuple[str, ...]:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return ()
    nothing = object()
    names = [*old, *(name for name in new if name not in old)]
    return tuple(name for name in names if not alike(old.get(name, nothing), new.get(name, nothing), tolerance))
