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
_TOLD: Final = {"job_running": "running", "checkpoint_completed": "checkpoint", "progress": "progress"}

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
    _read_before: int = 0
    _written_before: int = 0

    def take(self, event: dict[str, Any]) -> None:
        """Take in an event of the worker."""
        match event["event"]:
            case "job_running":
                self.attempt = event["attempt"]
                self.restored_from = event["restored_from"]
                # A worker may be killed between a checkpoint and the word of it: then what it held is not known.
                self._read_before = (
                    0 if self.restored_from is None else self.checkpoints.get(self.restored_from, self.read)
                )
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


async def run_worker(folder: Path, flights: int, *, kill: bool, tell: Tell) -> Run:
    """Run the job of `folder` to its end; gives what was seen.

    Args:
        folder: where the topology's file and `tidegate.toml` are.
        flights: how many records there are to read.
        kill: kill the worker half way, and start it again.
        tell: told `running`, `progress`, `checkpoint` with the worker's own facts, and `killed`; `run` and `pid` are
            among the facts.

    Raises:
        JobError: the worker failed, ended before it could be killed, or said nothing for a minute.
    """
    run = Run(flights)
    if kill:
        await _watch(folder, run, tell, kill=True)
        if not run.killed:
            raise JobError("the worker had ended before it could be killed half way: lower --rate")
    await _watch(folder, run, tell, kill=False)
    return run


async def _watch(folder: Path, run: Run, tell: Tell, *, kill: bool) -> None:
    signalled = False
    async with _process(folder) as process:
        while event := await _next_event(folder, process):
            run.take(event)
            name = _TOLD.get(event["event"])
            if name is not None:
                tell(name, {"run": run, "pid": process.pid, **event})
            if kill and not signalled and run.half_way:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    process.send_signal(signal.SIGKILL)
                signalled = True
        code = await process.wait()
        if signalled and code == -signal.SIGKILL:
            run.killed = True
            tell("killed", {"run": run, "pid": process.pid})
        elif code:
            raise JobError(f"the worker ended with exit code {code}:\n{_last_lines(folder / LOG)}")


async def _next_event(folder: Path, process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next event of a worker; empty at the end."""
    assert process.stdout is not None
    while True:
        try:
            async with asyncio.timeout(_SILENCE_S):
                line = await process.stdout.readline()
        except TimeoutError:
            raise JobError(f"the worker has said nothing for {_SILENCE_S:.0f} s: see {folder / LOG}") from None
        if not line:
            return {}
        with contextlib.suppress(msgspec.DecodeError):  # a killed worker may leave half a line
            return msgspec.json.decode(line, type=dict[str, Any])


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


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_LINES:])
