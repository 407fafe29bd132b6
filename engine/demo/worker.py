"""The worker of the demo: the command line `tidegate run` in a process of its own, watched and killed once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from ..errors import JobError

APP: Final = "flight_delays.py"
STATE: Final = "state"
LOG: Final = "worker.log"

_SILENCE_S: Final = 60.0
_CHECKPOINTS_BEFORE_KILL: Final = 2
_LINE_LIMIT_BYTES: Final = 1 << 20
_LOG_LINES: Final = 12

Tell: TypeAlias = Callable[[str, dict[str, Any]], None]
"""Told what happens: a name, and facts."""


@dataclass
class Run:
    """What has been seen of the job so far, over all its worker processes.

    Attributes:
        flights: how many there are to read.
        read: how many have been read, those that a checkpoint holds included.
        written: records given to the sinks, those written again after the kill included.
        late: records that came too late for a window.
        checkpoints: ids of the completed checkpoints, and how many flights each holds.
        attempt: the job's current attempt.
        restored_from: the checkpoint that the current attempt began with; None for none.
        killed: whether a worker has been killed.
    """

    flights: int
    read: int = 0
    written: int = 0
    late: int = 0
    checkpoints: dict[int, int] = field(default_factory=dict)
    attempt: int = 0
    restored_from: int | None = None
    killed: bool = False
    _written_before: int = 0

    def take(self, event: dict[str, Any]) -> None:
        """Take in an event of the worker."""
        match event["event"]:
            case "job_running":
                self.attempt = event["attempt"]
                self.restored_from = event["restored_from"]
                self.read = self._read_before
                self._written_before = self.written
            case "checkpoint_completed":
                self.checkpoints[event["checkpoint_id"]] = event["records"]
            case "progress":
                self.read = self._read_before + event["records_in"]
                self.written = self._written_before + event["records_out"]
                self.late = event["late"]

    @property
    def half_way(self) -> bool:
        """Whether it is time to kill the worker."""
        return self.read * 2 >= self.flights and len(self.checkpoints) >= _CHECKPOINTS_BEFORE_KILL

    @property
    def _read_before(self) -> int:
        return 0 if self.restored_from is None else self.checkpoints[self.restored_from]


async def run_worker(folder: Path, flights: int, *, kill: bool, tell: Tell) -> Run:
    """Run the job of `folder` to its end; gives what was seen.

    Args:
        folder: where the topology's file and `tidegate.toml` are.
        flights: how many records there are to read.
        kill: kill the worker half way, and start it again.
        tell: told `running`, `progress`, `checkpoint`, `killed`; facts are under the name `run`, and more by name.

    Raises:
        JobError: the worker failed, ended before it could be killed, or said nothing for a minute.
    """
    run = Run(flights)
    if kill:
        await _watch(folder, run, tell, until_half=True)
        if not run.killed:
            raise JobError("the worker had ended before it could be killed half way: lower --rate")
    await _watch(folder, run, tell, until_half=False)
    return run


async def _watch(folder: Path, run: Run, tell: Tell, *, until_half: bool) -> None:
    async with _process(folder) as process:
        assert process.stdout is not None
        while True:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    line = await process.stdout.readline()
            except TimeoutError:
                raise JobError(f"the worker has said nothing for {_SILENCE_S:.0f} s: see {folder / LOG}") from None
            if not line:
                break
            event = _event(line)
            if event is None:
                continue
            run.take(event)
            if event["event"] == "job_running":
                tell("running", {"run": run, "pid": process.pid})
            elif event["event"] == "checkpoint_completed":
                tell("checkpoint", {"run": run, "checkpoint_id": event["checkpoint_id"]})
            elif event["event"] == "progress":
                tell("progress", {"run": run})
            if until_half and run.half_way:
                process.send_signal(signal.SIGKILL)
                run.killed = True
                tell("killed", {"run": run, "pid": process.pid})
                until_half = False
        code = await process.wait()
    if code and not (run.killed and code == -signal.SIGKILL):
        raise JobError(f"the worker ended with exit code {code}:\n{_last_lines(folder / LOG)}")


@contextlib.asynccontextmanager
async def _process(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process; killed when the block ends and it still runs."""
    with (folder / LOG).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidegate.engine.cli.main",
            "run",
            APP,
            "--json",
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=_LINE_LIMIT_BYTES,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None for half a line, which is what a killed worker may leave."""
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        return None


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
