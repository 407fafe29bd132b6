"""How another process talks to a running job: a Unix socket in the job's checkpoint folder.

One JSON object per line. The client sends one request, `{"command": "savepoint", "name": "before-deploy"}`.
The server answers `{"accepted": true}` as soon as it has begun, and `{"ok": true, …}` or `{"ok": false,
"error": "…"}` when it is done. The commands are `status`, `savepoint` (with `name`), `stop` (with
`savepoint`, a name or null), `drain` and `cancel`.

The socket is `<checkpoints>/<job>/control.sock`. A path that is too long for a socket is replaced by one in
the user's own folder of the temporary directory, which the file `control.path` beside it then names.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

from .clock import Clock
from .errors import ConfigError, TidegateError
from .listener import Handler, serving
from .metrics.measures import JobMeasures

SOCKET_NAME: Final = "control.sock"
NOTE_NAME: Final = "control.path"

_LONGEST_PATH: Final = 100
_GRACE_S: Final = 1.0


class Controlled(Protocol):
    """What is needed of a job to steer it."""

    @property
    def status(self) -> Any: ...
    @property
    def measures(self) -> JobMeasures: ...
    def why_waiting(self) -> list[str]: ...
    async def savepoint(self, name: str) -> Any: ...
    async def stop(self, savepoint: str | None = None) -> Any: ...
    async def drain(self) -> Any: ...
    async def cancel(self) -> Any: ...


class ControlError(TidegateError):
    """A running job cannot be reached, or refused what it was asked; the message says which job and why."""


def local_directory(location: str | Path) -> Path | None:
    """The directory that a checkpoint location is, or None when it is not on this machine."""
    text = str(location)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return None if "://" in text else Path(text)


@asynccontextmanager
async def serve_control(job: Controlled, directory: Path, clock: Clock) -> AsyncIterator[Path]:
    """Answer requests about `job` until the block ends; gives the path of the socket.

    Only the same user can connect. When the block ends, requests being answered have a second to end.

    Args:
        job: what is steered.
        directory: the job's own folder, `<checkpoints>/<job>`. Whoever serves holds its lock, so a socket
            that is there is a dead one.
        clock: the job's clock.

    Raises:
        ConfigError: the socket cannot be made; names it.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line:
            return
        try:
            request = json.loads(line)
            command = request["command"]
        except (ValueError, TypeError, KeyError):
            await _send(writer, {"ok": False, "error": "a request is a JSON object with a command"})
            return
        if command not in _COMMANDS:
            known = ", ".join(_COMMANDS)
            await _send(writer, {"ok": False, "error": f"unknown command {command!r}: use one of {known}"})
            return
        await _send(writer, {"accepted": True})
        try:
            reply = await _obey(job, clock, request)
        except TidegateError as error:
            reply = {"ok": False, "error": str(error)}
        await _send(writer, reply)

    path = _prepare(directory)

    async def listen(handler: Handler) -> asyncio.Server:
        try:
            server = await asyncio.start_unix_server(handler, path)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"the control socket {path} cannot be made: {reason}") from None
        path.chmod(0o600)
        return server

    try:
        async with serving(answer, listen, _GRACE_S):
            yield path
    finally:
        path.unlink(missing_ok=True)
        (directory / NOTE_NAME).unlink(missing_ok=True)


def ask(directory: Path, request: Mapping[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
    """Send a request to the job whose folder is `directory` and wait for the answer. For another process than
    the job's.

    Raises:
        ControlError: no job runs there, it refused, or `timeout_s` seconds passed without an answer.
    """
    path = _noted(directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answers = [json.loads(line) for line in lines]
        except TimeoutError:
            raise ControlError(f"job {directory.name!r} gave no answer in {timeout_s:g} s") from None
        except (OSError, ValueError):
            raise ControlError(f"no job is running in {directory}; start it with: tidegate run") from None
    if not answers:
        raise ControlError(f"job {directory.name!r} ended before it could answer")
    last: dict[str, Any] = answers[-1]
    if "ok" not in last:
        # The job took the request and was gone before it could say so: it has ended.
        return {"ok": True, "ended": True}
    if not last["ok"]:
        raise ControlError(f"job {directory.name!r}: {last['error']}")
    return last


def running_jobs(checkpoints: Path) -> list[Path]:
    """The folders of the jobs that left a control socket under a checkpoint directory, by name. One that was
    killed is among them: `ask` tells."""
    found = {*checkpoints.glob(f"*/{SOCKET_NAME}"), *checkpoints.glob(f"*/{NOTE_NAME}")}
    return sorted({path.parent for path in found})


async def _obey(job: Controlled, clock: Clock, request: dict[str, Any]) -> dict[str, Any]:
    command = request["command"]
    if command == "savepoint":
        name = request.get("name")
        if not isinstance(name, str) or not name:
            return {"ok": False, "error": "a savepoint needs a name"}
        checkpoint_id = await job.savepoint(name)
        return {"ok": True, "savepoint": name, "checkpoint_id": checkpoint_id}
    if command == "stop":
        await job.stop(request.get("savepoint"))
    elif command == "drain":
        await job.drain()
    elif command == "cancel":
        await job.cancel()
    else:
        now_ms = clock.now_ms()
        status = getattr(job.status, "value", job.status)
        measures = job.measures.snapshot(now_ms)
        return {"ok": True, "status": str(status), "why_waiting": job.why_waiting(), "measures": measures}
    return {"ok": True, "ended": True}


_COMMANDS: Final = ("status", "savepoint", "stop", "drain", "cancel")


async def _send(writer: asyncio.StreamWriter, answer: Mapping[str, Any]) -> None:
    writer.write(json.dumps(dict(answer), default=str).encode() + b"\n")
    await writer.drain()


def _prepare(directory: Path) -> Path:
    """The path for the socket, with nothing there."""
    directory.mkdir(parents=True, exist_ok=True)
    note = directory / NOTE_NAME
    note.unlink(missing_ok=True)
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) > _LONGEST_PATH:
        digest = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
        path = _private_directory() / f"{digest}.sock"
        note.write_text(f"{path}\n", encoding="utf-8")
    path.unlink(missing_ok=True)
    return path


def _private_directory() -> Path:
    """A folder of the temporary directory that belongs to this user alone."""
    folder = Path(tempfile.gettempdir()) / f"tidegate-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ConfigError(f"{folder} belongs to somebody else or is open to others: remove it, or set TMPDIR")
    return folder


def _noted(directory: Path) -> Path:
    try:
        return Path((directory / NOTE_NAME).read_text(encoding="utf-8").strip())
    except OSError:
        return directory / SOCKET_NAME
