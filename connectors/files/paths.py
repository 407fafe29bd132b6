"""What a path names: one file, the files of a folder, or those a glob matches."""

from __future__ import annotations

import glob
import os
import re
from typing import Final

from ..source import SourceError

_MAGIC: Final = re.compile(r"[*?\[]")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_UNITS: Final = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}


class Root:
    """A path as the user gave it. Every file has a name relative to it, the same in every run.

    Attributes:
        given: the path, as it was given.
        folder: what the names are relative to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.given = os.fspath(path)
        if not self.given:
            raise ValueError("path is empty: name a file, a folder or a glob")
        self._is_glob = bool(_MAGIC.search(self.given)) and not os.path.exists(self.given)
        if self._is_glob:
            fixed = []
            for part in self.given.split("/")[:-1]:
                if _MAGIC.search(part):
                    break
                fixed.append(part)
            self.folder = "/".join(fixed) + "/" if fixed else ""
        else:
            self.folder = self.given

    def list(self) -> list[str]:
        """The names of the files there are now, sorted. In a folder, names that begin with `.` or `_` are left out,
        with all that is below them.

        Raises:
            SourceError: the folder cannot be read.
        """
        if self._is_glob:
            found = glob.glob(self.given, recursive=True)
            return sorted(os.path.relpath(path, self.folder or ".") for path in found if os.path.isfile(path))
        if not os.path.isdir(self.given):
            return [os.path.basename(self.given)] if os.path.exists(self.given) else []
        names: list[str] = []

        def failed(error: OSError) -> None:
            raise SourceError(f"{error.filename}: the folder cannot be read: {error.strerror}") from error

        for folder, below, found in os.walk(self.given, onerror=failed):
            below[:] = [name for name in below if not name.startswith((".", "_"))]
            names += [
                os.path.relpath(os.path.join(folder, name), self.given)
                for name in found
                if not name.startswith((".", "_"))
            ]
        return sorted(names)

    def join(self, name: str) -> str:
        """Where a listed file is."""
        if self._is_glob or os.path.isdir(self.given):
            return os.path.join(self.folder, name)
        return self.given


def size_bytes(size: int | str, setting: str) -> int:
    """A size in bytes: a number, or a string such as `"64MB"` (decimal) or `"64MiB"` (binary).

    Raises:
        ValueError: it is neither, or not positive; names the setting.

    >>> size_bytes("64MB", "split_size"), size_bytes("1.5KiB", "split_size")
    (64000000, 1536)
    """
    if isinstance(size, int) and size > 0:
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    number = 0 if match is None else int(float(match[1]) * _UNITS[match[2] or "B"])
    if number <= 0:
        raise ValueError(f'{setting}={size!r} is not a size: write "64MB", "16MiB" or a number of bytes')
    return number
