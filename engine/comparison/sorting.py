"""Sorting more than fits into memory: sorted runs on disk, merged. Blocking."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

E = TypeVar("E", bound=tuple[Any, ...])

_MEMORY_BYTES: Final = 64 << 20
_ENTRY_BYTES: Final = 250
"""What an entry of two short texts and a number takes beside the texts, as measured with tracemalloc."""
_BLOCK_ENTRIES: Final = 1024
_MOST_RUNS: Final = 64
_encode = msgspec.msgpack.Encoder().encode


class Sorter(Generic[E]):
    """Takes tuples in any order and gives them back sorted, once. What does not fit into memory waits on disk.

    Args:
        folder: where runs are written; must exist.
        entry: the type of the tuples: of bytes and integers, the first element is bytes.
        memory_bytes: how much may be held at a time, about.
    """

    def __init__(self, folder: Path, entry: Any, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._folder = folder
        self._decode = msgspec.msgpack.Decoder(list[entry]).decode
        self._memory_bytes = memory_bytes
        self._entries: list[E] = []
        self._held = 0
        self._runs: list[Path] = []
        self._written = 0

    def add(self, entries: Iterable[E]) -> None:
        """Take some more."""
        for entry in entries:
            self._entries.append(entry)
            self._held += _ENTRY_BYTES + sum([len(part) for part in entry if type(part) is bytes])
        if self._held > self._memory_bytes:
            self._entries.sort()
            self._write(self._entries)
            self._entries, self._held = [], 0
            if len(self._runs) == _MOST_RUNS:
                runs, self._runs = self._runs, []
                self._write(heapq.merge(*map(self._read, runs)))
                for run in runs:
                    run.unlink()

    def sorted(self) -> Iterator[E]:
        """All that was taken, in order."""
        self._entries.sort()
        if not self._runs:
            return iter(self._entries)
        return heapq.merge(*map(self._read, self._runs), self._entries)

    def _write(self, entries: Iterable[E]) -> None:
        path = self._folder / f"run-{self._written}"
        self._written += 1
        with path.open("wb") as file:
            block: list[E] = []
            for entry in entries:
                block.append(entry)
                if len(block) == _BLOCK_ENTRIES:
                    _write_block(file, block)
                    block = []
            _write_block(file, block)
        self._runs.append(path)

    def _read(self, path: Path) -> Iterator[E]:
        with path.open("rb") as file:
            while size := file.read(4):
                yield from self._decode(file.read(int.from_bytes(size, "big")))


def _write_block(file: Any, block: list[Any]) -> None:
    data = _encode(block)
    file.write(len(data).to_bytes(4, "big"))
    file.write(data)
