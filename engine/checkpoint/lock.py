"""The lock on a local checkpoint directory: one live process per job."""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ..errors import CheckpointError, FencedError


class LockHolder(msgspec.Struct):
    """Who holds a lock: the content of the lock file."""

    pid: int
    host: str
    since_ms: int


class DirectoryLock:
    """`flock` on `<directory>/.lock`. The operating system gives it back when the process ends, also by
    SIGKILL, so a lock is never left over. Two locks of one process exclude each other as well.

    Works between processes of one machine, and on network file systems as far as they carry `flock`. The file
    stays when the lock is released: deleting it would let two processes lock two files of one name.
    """

    def __init__(self, directory: Path, job: str, now_ms: int) -> None:
        self._path = directory / ".lock"
        self._directory = directory
        self._job = job
        self._now_ms = now_ms
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or fail at once; makes the directory. Blocking I/O.

        Raises:
            FencedError: a live process holds it; names the process and what to do.
            CheckpointError: the directory cannot be made or written.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CheckpointError(
                f"cannot write to checkpoint directory {self._directory}: {error.strerror}; "
                "make it writable or use another directory"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise FencedError(
                f"checkpoint directory {self._directory.parent} of job {self._job!r} is in use by {holder}; "
                "stop it or use another directory"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise CheckpointError(
                f"cannot lock {self._path}: {error.strerror}; use a directory on a file system that has locks"
            ) from error
        self._descriptor = descriptor
        content = msgspec.json.encode(LockHolder(os.getpid(), socket.gethostname(), self._now_ms))
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, content, 0)
        except OSError:
            # A full disk takes away the name of the holder, not the lock.
            pass

    def release(self) -> None:
        """Give it back. No error when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _holder(descriptor: int) -> str:
    try:
        holder = msgspec.json.decode(os.pread(descriptor, 4096, 0), type=LockHolder)
    except (OSError, msgspec.MsgspecError):
        return "another process"
    since = datetime.fromtimestamp(holder.since_ms / 1000, UTC)
    where = "" if holder.host == socket.gethostname() else f" on {holder.host}"
    return f"process {holder.pid}{where} since {since:%Y-%m-%d %H:%M:%S} UTC"
