"""Whole objects in an object store, whatever becomes of single answers. Blocking; errors are obstore's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from .object_store import is_cut

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

R = TypeVar("R")

Pace = Callable[[int], None]
"""Called with a number of bytes before they are sent; may block, and raise to give the file up."""

PART_BYTES: Final = 8 << 20
"""Files above this size are sent in parts of it."""
_PARTS_AT_ONCE: Final = 2
_CHUNK_BYTES: Final = 1 << 20
_STREAM_BYTES: Final = 1 << 18
_TRIES: Final = 3


class Objects:
    """The objects of a store.

    The store itself tries again what was refused for the moment or not answered. What is done here is what only whoever
    knows the objects can do: an answer that was cut, and a conditional write whose outcome is not known.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def list(self, prefix: str) -> list[ObjectMeta]:
        """All objects below a prefix."""
        return self._again(lambda: [found for page in self._store.list(prefix) for found in page])

    def folders(self, prefix: str) -> Sequence[str]:
        """The prefixes directly below a prefix."""
        return self._again(lambda: self._store.list_with_delimiter(prefix or None)["common_prefixes"])

    def put(self, path: str, data: bytes) -> None:
        """Write an object, replacing what is there."""
        self._again(lambda: self._store.put(path, data, mode="overwrite", use_multipart=False))

    def create(self, path: str, data: bytes) -> bool:
        """Write an object if there is none of that name; whether it is ours now.

        An answer can get lost after the object was made, and then the next try finds it there: what is there in the end
        decides. The same bytes are taken for ours.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._store.put(path, data, mode="create", use_multipart=False)
            except Exception as error:
                try:
                    there: bytes | None = self.get(path)
                except FileNotFoundError:
                    there = None
                except Exception:
                    raise error from None
                if there is not None:
                    return there == data
                # It was never carried out, or who was there has gone.
                if not left:
                    raise
            else:
                return True
        raise AssertionError("the last try returns or raises")

    def send(self, path: str, source: Path, pace: Pace | None = None) -> None:
        """Write an object with the content of a file, replacing what is there; a big one in parts, which appears when all
        of them are there."""
        self._again(lambda: self._send(path, source, pace))

    def _send(self, path: str, source: Path, pace: Pace | None) -> None:
        from obstore import open_writer

        with source.open("rb", buffering=0) as file:
            size = source.stat().st_size
            if size <= PART_BYTES:
                if pace is not None:
                    pace(size)
                self._store.put(path, file.read(), mode="overwrite", use_multipart=False)
                return
            writer = open_writer(self._store, path, buffer_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
            while chunk := file.read(_CHUNK_BYTES):
                if pace is not None:
                    pace(len(chunk))
                writer.write(chunk)
            # Closing makes the object: one that was not read to its end is never closed.
            writer.close()

    def get(self, path: str) -> bytes:
        """An object's content.

        Raises:
            FileNotFoundError: there is none, or what `is_missing_object` tells from that.
        """
        return self._again(lambda: bytes(self._store.get(path).bytes()))

    def stream(self, path: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, memoryview]]:
        """The bytes of an object from `start` to before `end` in pieces, each with the size of the whole object; at least
        one piece, empty where there is no such range. Goes on from where an answer was cut.

        Raises:
            FileNotFoundError: as `get`.
        """
        tries = _TRIES
        while True:
            try:
                if end is not None:
                    result = self._store.get(path, options={"range": (start, end)})
                elif start:
                    result = self._store.get(path, options={"range": {"offset": start}})
                else:
                    result = self._store.get(path)
                size = int(result.meta["size"])
                yield size, memoryview(b"")
                for chunk in result.stream(min_chunk_size=_STREAM_BYTES):
                    start, tries = start + len(chunk), _TRIES
                    yield size, memoryview(chunk)
            except FileNotFoundError:
                raise
            except Exception as error:
                there = self._size(path) if start else None
                if there is not None and there <= start:
                    yield there, memoryview(b"")  # there is no such range, or no more of it
                    return
                tries -= 1
                if not tries or not is_cut(error):
                    raise
            else:
                return

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, with few requests where the store can; those that are gone already do not matter."""
        try:
            self._store.delete(list(paths))
        except FileNotFoundError:
            # Some stores say so when one of them is gone: the others may still be there.
            for path in paths:
                try:
                    self._store.delete(path)
                except FileNotFoundError:
                    continue

    def _size(self, path: str) -> int | None:
        try:
            return int(self._store.head(path)["size"])
        except Exception:
            return None

    def _again(self, ask: Callable[[], R]) -> R:
        """Do what may be done twice again when the answer to it was cut."""
        for _ in range(_TRIES - 1):
            try:
                return ask()
            except Exception as error:
                if not is_cut(error):
                    raise
        return ask()
