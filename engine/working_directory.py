"""The folder of a process for the databases of its job. It need not survive the process, and one that was left is cleared."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from .config import RunConfig
from .errors import JobError

_LOCK = ".lock"


class WorkingDirectory:
    """The working directory of one process and job, until `remove`. Blocking.

    Beside local checkpoints, so that files can be linked instead of copied; else in `state_dir`, in a folder of its own
    that holds a lock for as long as the process lives; else a temporary one. The caller holds the lock of the job where its
    checkpoints are on this machine.

    Raises:
        JobError: it cannot be made; says where and what to do.
    """

    def __init__(self, config: RunConfig, job: str) -> None:
        self._lock: int | None = None
        location = None if config.checkpoints is None else str(config.checkpoints).removeprefix("file://")
        try:
            if config.state_dir is not None:
                self.path = self._below(Path(config.state_dir), f"tidegate-{job}-")
            elif location is not None and "://" not in location:
                self.path = Path(location) / job / "work"
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)
            else:
                self.path = Path(tempfile.mkdtemp(prefix=f"tidegate-{job}-"))
        except OSError as error:
            raise JobError(
                f"cannot make a working directory in {error.filename}: {error.strerror}; set RunConfig(state_dir=...) "
                "to a folder that can be written"
            ) from error
        # It goes with the working directory, unless the next process is to find it.
        kept = Path(config.state_dir or ".") / f"tidegate-{job}.copies"
        self.copies = kept if config.local_recovery else self.path / "copies"
        """Where the files of the newest checkpoint are kept beside an object store."""

    def _below(self, folder: Path, prefix: str) -> Path:
        """A new folder below `folder`; those that dead processes have left there go."""
        folder.mkdir(parents=True, exist_ok=True)
        gate = _locked(folder / f".{prefix}{_LOCK.removeprefix('.')}", wait=True)
        try:
            for left in folder.glob(f"{prefix}*"):
                held = _locked(left / _LOCK, wait=False)
                if held is not None:
                    shutil.rmtree(left, ignore_errors=True)
                    os.close(held)
            made = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
            self._lock = _locked(made / _LOCK, wait=False)
        finally:
            if gate is not None:
                os.close(gate)
        return made

    def remove(self) -> None:
        """Delete it with all that is in it, but for copies that are kept. Does nothing the second time."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(path: Path, *, wait: bool) -> int | None:
    """Hold a lock on a file, which is made; None when somebody else does, or the file system has no locks."""
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return descriptor
    if descriptor is not None:
        os.close(descriptor)
    return None
