"""What the servers of the testing kit share: where their programs are kept, and that none outlives its test."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Kills the server when the process that holds the other end of its input has ended without a word.
_REAPER = 'read -r _ || { kill -9 "$1"; rm -rf "$2"; }'


class ServerUnavailableError(Exception):
    """A server of the testing kit cannot be had here. The message says why and what to do about it."""


def cache_folder(name: str) -> Path:
    """Where the programs of a kind of server are kept between runs: `tidegate/<name>` in XDG_CACHE_HOME or `~/.cache`."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time; the others wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Reaper:
    """Ends a server and removes its folder when this process ends, however it ends.

    Args:
        pid: of the server.
        folder: its files.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _REAPER, "reaper", str(pid), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """The server has ended: there is nothing left to do."""
        self._shell.communicate(b"\n")
