"""Reads a file that grows, like `tail -F`: through rotation by rename, and through truncation."""

from __future__ import annotations

import os
from typing import Any, Final, Literal

from ..source import Fetch, Offset, Rejected, SourceContext, SourceError, Split
from .compression import compression_of
from .raw import PlainFile, fingerprint
from .record_reader import ReadSettings, RecordReader

_HEAD_BYTES: Final = 1024


class FollowReader(RecordReader):
    """One growing file. Its offset is `{"byte": n, "head": fingerprint of the file's first bytes}`.

    The fingerprint tells the file from others of its name after a restart. When the file was renamed meanwhile
    (`app.log` to `app.log.1`), the rest of the renamed file is read first, then those that came between, then the new
    one. A record without its line end waits for it.
    """

    follows = True

    def __init__(
        self, path: str, split: Split, offset: Offset | None, settings: ReadSettings, context: SourceContext
    ) -> None:
        super().__init__(path, split, offset, settings, context)
        self._name = path
        self._head: str | None = None if offset is None else offset.get("head")
        self._finishing = False
        self._chain: list[str] = []
        self._lost: Rejected | None = None

    def offset(self) -> Offset:
        return {"byte": self.position, "head": self._head}

    async def check(self) -> None:
        if self._head is not None:
            await self._blocking(self._find_again)

    def _find_again(self) -> None:
        assert self._head is not None
        n_bytes = int(self._head.split(":")[0])
        older = self._rotated()
        for path in [self._name, *older]:
            if not os.path.exists(path) or fingerprint(path, n_bytes) != self._head:
                continue
            if os.path.getsize(path) >= self.position:
                self.path = path
                if path != self._name:
                    behind = older[: older.index(path)]
                    self._chain = [*reversed(behind), self._name]
                    self._finishing = True
                return
        reason = (
            f"the checkpoint has read {self.position} bytes of a file that is no longer there, cut or rotated away, "
            "and what followed them is lost"
        )
        if self._settings.on_damage == "fail":
            raise SourceError(
                f"{self._name}: {reason}. Put the file back beside it, or set "
                'on_damage="stop" to go on with what is there now',
                retriable=False,
            )
        self._lost = Rejected(b"", reason, f"byte {self.position}")
        self._base, self._head = 0, None

    def _rotated(self) -> list[str]:
        """Files that were this one before a rotation, newest first."""
        folder, name = os.path.split(self._name)
        found = [
            os.path.join(folder, other)
            for other in os.listdir(folder or ".")
            if other.startswith((name + ".", name + "-")) and compression_of(other, None) == "none"
        ]
        return sorted(found, key=lambda path: (-os.stat(path).st_mtime_ns, path))

    async def read(self, limit: int) -> Fetch[Any]:
        if self._lost is not None:
            lost, self._lost = self._lost, None
            return Fetch([], self.offset(), rejected=[lost])
        if self._raw is None and not await self._blocking(os.path.exists, self.path):
            return self._nothing()
        fetch = await super().read(limit)
        if fetch.n_bytes and (self._head is None or not self._head.startswith(f"{_HEAD_BYTES}:")):
            assert isinstance(self._raw, PlainFile)
            self._head = await self._blocking(self._raw.fingerprint, min(_HEAD_BYTES, self.position))
            fetch.offset = self.offset()
        return fetch

    def _takes_rest(self) -> bool:
        return self._finishing

    async def _end(self) -> Fetch[Any]:
        # Nothing more for now: the next read looks at the file again.
        self._last = False
        if self._finishing:
            await self._switch()
            return self._nothing()
        change = await self._blocking(self._look)
        if change == "renamed":
            self._finishing = True
        elif change == "truncated":
            raw = self._buffer[self._at :]
            lost = Rejected(
                raw, f"{self.path}: the file was cut; reading goes on at its beginning", f"byte {self.position}"
            )
            await self._begin_again(self.path)
            return Fetch([], self.offset(), rejected=[lost])
        return self._nothing()

    def _look(self) -> Literal["same", "renamed", "truncated"]:
        assert isinstance(self._raw, PlainFile)
        ours = self._raw.stat()
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return "renamed"
        if (named.st_ino, named.st_dev) != (ours.st_ino, ours.st_dev):
            return "renamed"
        return "truncated" if ours.st_size < self.position else "same"

    async def _switch(self) -> None:
        following = self._chain.pop(0) if self._chain else self._name
        await self._begin_again(following)
        self._finishing = bool(self._chain)

    async def _begin_again(self, path: str) -> None:
        await self.close()
        self._empty_buffer()
        self.path = path
        self._base, self._head, self._framing = 0, None, None
        self._finishing = False
