"""The engine under its supervisor, seen from outside: its processes, and what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class SupervisedEngine:
    """One copy of `tidegate run --supervise` in a folder.

    Args:
        folder: where the topology and `tidegate.toml` are.
        app: the topology's file.
        name: of this copy; its events and log lines go to `<name>.jsonl` and `<name>.log`.
        environ: in addition to this process's.
    """

    def __init__(self, folder: Path, app: str, name: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self._events, self._log = folder / f"{name}.jsonl", folder / f"{name}.log"
        command = [sys.executable, "-m", "tidegate.engine.cli.main", "run", app, "--json", "--metrics-port", "none"]
        command += ["--supervise", "--supervise-timeout", "4s"]
        command += ["--supervise-restart", "exponential initial=100ms maximum=2s reset_after=3s"]
        with self._events.open("wb") as out, self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=log, env={**os.environ, **environ}, start_new_session=True
            )

    @property
    def worker(self) -> int | None:
        """The process id of its worker; None while there is none."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return int(children[0]) if children else None
        return None

    def signal_worker(self, number: int) -> None:
        """Send its worker a signal, if there is one."""
        worker = self.worker
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, number)

    def pause(self) -> None:
        """Stop both processes, the supervisor first."""
        self.process.send_signal(signal.SIGSTOP)
        self.signal_worker(signal.SIGSTOP)

    def resume(self) -> None:
        """Let both go on."""
        self.signal_worker(signal.SIGCONT)
        self.process.send_signal(signal.SIGCONT)

    def end(self, number: int, patience_s: float) -> int:
        """Send the supervisor a signal and wait; its exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        self.process.send_signal(number)
        return self.wait(patience_s)

    def wait(self, patience_s: float) -> int:
        """Its exit code.

        Raises:
            AssertionError: it did not end in time.
        """
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended after {patience_s:g} s") from None

    def close(self) -> None:
        """End it, however it is."""
        self.process.kill()  # the kernel kills the worker with it
        self.process.wait()

    def events(self) -> list[dict[str, Any]]:
        """All that it has said; half a line of one that was killed is left out."""
        found = []
        for line in self._events.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def said(self) -> str:
        """Its log lines."""
        return self._log.read_text(errors="replace")

    def checkpoints(self, count: int, patience_s: float) -> None:
        """Wait until its worker, or one that follows it, has completed so many checkpoints.

        Raises:
            AssertionError: it ended, or has not in time.
        """
        deadline = time.monotonic() + patience_s
        while self._completed() < count:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
            assert time.monotonic() < deadline, f"{self.name} has not completed {count} checkpoints in {patience_s:g} s"
            time.sleep(0.05)

    def _completed(self) -> int:
        """How many checkpoints its present worker has completed."""
        count = 0
        for event in self.events():
            count = 0 if event["event"] == "worker_restarting" else count + (event["event"] == "checkpoint_completed")
        return count
