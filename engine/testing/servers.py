"""What the servers of the testing kit share: where their programs are kept, and that none outlives its test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ...operators.time import Duration, duration_ms
from ..clock import SystemClock

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


class ServerProcess:
    """A server under way. It writes its output into a log, and dies with the process that started it.

    Args:
        title: what messages call it: `the object store`.
        command: the program and its arguments.
        folder: its files; removed when the starting process ends without a word.
        log: where its output goes.
        environment: in addition to this process's, if any.
    """

    def __init__(
        self,
        title: str,
        command: Sequence[str],
        folder: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._title = title
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # an interrupt from the keyboard is for the test
            )
        self._reaper = Reaper(self._process.pid, folder)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until(self, serves: Callable[[], bool], timeout_s: float, pause_s: float) -> None:
        """Ask it every so often until it serves.

        Raises:
            ServerUnavailableError: it has ended, or does not serve in time.
        """
        clock = SystemClock()
        deadline = clock.monotonic() + timeout_s
        while not serves():
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(pause_s)  # the wait between two questions ends early when the server does
                raise ServerUnavailableError(f"{self._title} ended with {code} while starting\n{log_tail(self._log)}")
            if clock.monotonic() > deadline:
                raise ServerUnavailableError(
                    f"{self._title} does not serve after {timeout_s:g} s: raise start_timeout, or look at the end of its "
                    f"log\n{log_tail(self._log)}"
                )

    def close(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._reaper.dismiss()

    def stop(self, timeout_s: float) -> None:
        """End it in order; at once when that takes too long."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        self.close()


class LocalServer(ABC):
    """A server of the testing kit with its files in a temporary folder. A context manager.

    It dies with the process that started it, however that ends. Entering and leaving block.

    Args:
        kind: part of the folder's name.
        start_timeout: how long it may take until it serves.
    """

    def __init__(self, kind: str, start_timeout: Duration) -> None:
        self._timeout_s = duration_ms(start_timeout) / 1000
        self._folder = Path(tempfile.gettempdir(), f"tidegate-{kind}-{secrets.token_hex(6)}")
        self._process: ServerProcess | None = None

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(mode=0o700)
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it and remove its files. Does nothing the second time."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    @abstractmethod
    def _open(self) -> None:
        """Start it; the folder is there and empty.

        Raises:
            ServerUnavailableError: it cannot be had here, or does not come up.
        """

    def _end(self) -> None:
        """End its process, if there is one."""
        if self._process is not None:
            self._process.close()
            self._process = None


def log_tail(log: Path) -> str:
    """The last lines that a server wrote."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log.exists() else ""
