"""The source of files: which there are, their splits, and a reader for them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..source import Fetch, Lag, Offset, SourceContext, SourceError, Split
from .compression import Compression, compression_of
from .paths import Root

_RANGE: Final = re.compile(r"(?P<file>.+)@(?P<start>\d+)\+(?P<length>\d+)", re.DOTALL)


class SplitReader(Protocol):
    """Reads one split."""

    async def check(self) -> None: ...
    async def read(self, limit: int) -> Fetch[Any]: ...
    def lag(self) -> Lag | None: ...
    async def close(self) -> None: ...


OpenSplit = Callable[[str, Split, Offset | None, SourceContext], SplitReader]
"""A reader of the split of the file at this path, from an offset."""


class FileSource:
    """Files as splits. A split's id is the file's name relative to the path; `name@start+length` for a byte range."""

    def __init__(
        self,
        root: Root,
        open_split: OpenSplit,
        *,
        unbounded: bool,
        split_bytes: int | None,
        compression: Compression | None,
    ) -> None:
        self._root = root
        self._open_split = open_split
        self._unbounded = unbounded
        self._split_bytes = split_bytes
        self._compression = compression

    async def discover(self, known: frozenset[str], context: SourceContext) -> list[Split]:
        splits: list[Split] = await context.blocking(self._discover, known)
        if not splits and not known and not self._unbounded:
            raise SourceError(f"{self._root.given}: there is no file of this name; check the path", retriable=False)
        return splits

    def _discover(self, known: frozenset[str]) -> list[Split]:
        ranges: dict[str, list[tuple[int, int]]] = {}
        for match in filter(None, map(_RANGE.fullmatch, known)):
            start = int(match["start"])
            ranges.setdefault(match["file"], []).append((start, start + int(match["length"])))
        names = [name for name in self._root.list() if name not in known]
        return [split for name in names for split in self._splits(name, sorted(ranges.get(name, [])))]

    def _splits(self, name: str, known: list[tuple[int, int]]) -> list[Split]:
        """A file in ranges: what the known ones leave free, so that none changes when the file has grown since."""
        step = self._split_bytes
        path = self._root.join(name)
        if step is None or compression_of(path, self._compression) != "none":
            return [] if known else [Split(name, {"file": name})]
        size = os.path.getsize(path)
        if size <= step and not known:
            return [Split(name, {"file": name})]
        splits = []
        free = 0
        for begin, end in [*known, (size, size)]:
            for start in range(free, begin, step):
                stop = min(start + step, begin)
                splits.append(Split(f"{name}@{start}+{stop - start}", {"file": name, "start": start, "end": stop}))
            free = end
        return splits

    def among(self, root: Root, names: Callable[[], list[str]]) -> ListedFiles:
        """The same source over the files that `names` gives, relative to another root."""
        return ListedFiles(
            root, self._open_split, unbounded=False, split_bytes=None, compression=self._compression, names=names
        )

    def reader(self, context: SourceContext) -> FileReader:
        return FileReader(self._root, self._open_split, context)


class ListedFiles(FileSource):
    """Whole files that somebody else lists; there may be none."""

    def __init__(self, root: Root, open_split: OpenSplit, *, names: Callable[[], list[str]], **settings: Any) -> None:
        super().__init__(root, open_split, **settings)
        self._names = names

    async def discover(self, known: frozenset[str], context: SourceContext) -> list[Split]:
        names: list[str] = await context.blocking(self._names)
        return [Split(name, {"file": name}) for name in names if name not in known]


class FileReader:
    """Reads the splits of one subtask. A file is open from its first read to its end."""

    def __init__(self, root: Root, open_split: OpenSplit, context: SourceContext) -> None:
        self._root = root
        self._open_split = open_split
        self._context = context
        self._splits: dict[str, SplitReader] = {}

    async def open(self, split: Split, offset: Offset | None) -> None:
        path = self._root.join(split.where["file"])
        reader = self._open_split(path, split, offset, self._context)
        await reader.check()
        self._splits[split.id] = reader

    async def read(self, split_id: str, limit: int) -> Fetch[Any]:
        return await self._splits[split_id].read(limit)

    def lag(self, split_id: str) -> Lag | None:
        return self._splits[split_id].lag()

    async def close(self) -> None:
        for reader in self._splits.values():
            await reader.close()
