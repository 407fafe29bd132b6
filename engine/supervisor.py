"""A small process that runs a job in another one, its worker, and starts it again when it dies of what a restart can cure.

    supervise([sys.executable, "app.py"])

The worker is any program that calls `run`, or the command line. Nothing of the job is in the supervisor: what kills the one
does not kill the other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from ..operators.time import Duration, duration_ms
from .clock import Clock, SystemClock
from .errors import ConfigError
from .job import OnEvent
from .logs import logged_events
from .restart import Failure, RestartStrategy, exponential
from .supervised import SUPERVISED

_FAILED: Final = 1
_REFUSED: Final = 2
_FINAL: Final = frozenset({0, 3, 128 + signal.SIGINT, 128 + signal.SIGTERM})
_PR_SET_PDEATHSIG: Final = 1
_LONGEST_PLACE: Final = 60
_LOOKS: Final = 4
"""How often in its timeout a silent worker is looked after: that the whole machine stood still is seen at the next look."""
_ENDING_S: Final = 60.0
"""How long a worker may take to end, at least, once it has said that its job is over: it has no event loop by then."""
_SHOW_CURSOR: Final = "\x1b[?25h"


def supervised_restarts() -> RestartStrategy:
    """When a worker is started again, if nothing else is said: after 100 ms, then after twice as long each time up to 30 s, at
    most 20 times in a row. One that ran for a minute was healthy."""
    return exponential(maximum="30s", reset_after="1m", attempts=20)


@dataclass(frozen=True)
class WorkerEnd:
    """How a worker ended.

    Attributes:
        code: its exit code; the negative number of the signal that killed it.
        ran_s: seconds for which its job had been running; None if it never was.
        silent_s: seconds without a sign of life after which it was killed by us; None if it was not.
    """

    code: int
    ran_s: float | None = None
    silent_s: float | None = None

    @property
    def exit_code(self) -> int:
        """As a shell tells it."""
        return self.code if self.code >= 0 else 128 - self.code

    @property
    def reason(self) -> str:
        """What became of it, for a person."""
        if self.silent_s is not None:
            return f"it gave no sign of life for {self.silent_s:g} s and was killed"
        if self.code < 0:
            return f"it was killed by {_signal_name(-self.code)}"
        return f"it ended with exit code {self.code}" + ("" if self.ran_s is not None else " before its job ran")

    def is_curable(self, *, ran_before: bool) -> bool:
        """Whether another worker may do better.

        A signal, or an exit code that is none of ours: something from outside the job ended it; and the code for an object
        store that does not answer. A job that has failed has used up its own restart strategy, and a wrong argument stays
        wrong. But where a worker has run before, with the same arguments, one that cannot even begin is kept from it by
        the world: a disk or a broker that is away.

        Args:
            ran_before: whether the job of an earlier worker came to run.
        """
        if self.code in _FINAL:
            return False
        if self.code in (_FAILED, _REFUSED):
            return ran_before and self.ran_s is None
        return True


def supervise(
    command: Sequence[str],
    *,
    restart: RestartStrategy | None = None,
    timeout: Duration | None = None,
    on_event: OnEvent = logged_events,
    clock: Clock | None = None,
    random: Random | None = None,
) -> int:
    """Run a command in a process of its own until it ends for good; its exit code. Owns this process meanwhile.

    SIGINT and SIGTERM are passed on: the first one drains the job, the second one cancels it. On Linux the worker is killed
    by the kernel when the supervisor is gone; elsewhere it notices within a second and drains.

    Args:
        command: the program and its arguments. It inherits the terminal, input and output.
        restart: when and how often it is started again; None for `supervised_restarts()`.
        timeout: kill a worker that has given signs of life and then none for so long: one that was stopped, or whose event
            loop is blocked. One whose job is over may take a minute to end. None for no limit.
        on_event: told of `worker_restarting` and `worker_given_up`.
        clock: where time comes from; the system's when None.
        random: for jitter.

    Returns:
        The worker's exit code; 128 plus the number of the signal that killed it, where it is not started again.

    Raises:
        ConfigError: the command cannot be run, or `timeout` is none.
    """
    try:
        timeout_s = None if timeout is None else duration_ms(timeout) / 1000
    except ValueError as error:
        raise ConfigError(f"timeout of the supervisor: {error}") from None
    if timeout_s is not None and timeout_s <= 0:
        raise ConfigError(f"timeout of the supervisor: {timeout!r} must be above zero")
    supervisor = _Supervisor(
        command,
        restart or supervised_restarts(),
        timeout_s,
        on_event,
        clock or SystemClock(),
        random or Random(os.getpid()),
    )
    with asyncio.Runner() as runner:
        return runner.run(supervisor.run())


class _Ears:
    """The socket on which a worker says that it is ready and alive."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.ready_at: float | None = None
        self.heard_at: float | None = None
        self.stopping = False
        self.heard = asyncio.Event()
        self._clock = clock
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(str(path))
        except OSError:
            self._socket.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._listen)

    def _listen(self) -> None:
        with suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(4096).split(b"\n")
                self.heard_at = self._clock.monotonic()
                if b"READY=1" in lines and self.ready_at is None:
                    self.ready_at = self.heard_at
                self.stopping = self.stopping or b"STOPPING=1" in lines
                self.heard.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


class _Supervisor:
    """One worker after the other."""

    def __init__(
        self,
        command: Sequence[str],
        strategy: RestartStrategy,
        timeout_s: float | None,
        on_event: OnEvent,
        clock: Clock,
        random: Random,
    ) -> None:
        self._command = command
        self._strategy = strategy
        self._timeout_s = timeout_s
        self._on_event = on_event
        self._clock = clock
        self._random = random
        self._worker: asyncio.subprocess.Process | None = None
        self._signals: list[int] = []
        self._signalled = asyncio.Event()
        self._ran = False

    async def run(self) -> int:
        failures: list[Failure] = []
        gone_at: float | None = None
        with self._passing_signals_on():
            while True:
                end = await self._run_worker(len(failures), gone_at)
                gone_at = self._clock.monotonic()
                if self._signals or not end.is_curable(ran_before=self._ran):
                    return end.exit_code
                self._ran = self._ran or end.ran_s is not None
                failures.append(Failure(end.ran_s or 0.0))
                delay = self._strategy.decide(failures, self._random)
                _show_cursor()  # a live table that was killed has hidden it
                if delay is None:
                    self._on_event("worker_given_up", {"reason": end.reason, "restarts": len(failures) - 1})
                    return end.exit_code
                facts = {"reason": end.reason, "delay_s": round(delay, 3), "restarts": len(failures)}
                self._on_event("worker_restarting", facts)
                if await self._clock.wait(self._signalled, delay):
                    return 0  # nothing runs that could be drained

    async def _run_worker(self, restarts: int, gone_at: float | None) -> WorkerEnd:
        # The path of a socket is short: at most 104 bytes on some systems.
        place = None if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_PLACE else "/tmp"
        with tempfile.TemporaryDirectory(prefix="tidegate-supervisor-", dir=place) as folder:
            path = Path(folder, "notify")
            ears = _Ears(path, self._clock)
            try:
                worker = await self._start(path, restarts, gone_at)
                try:
                    return await self._watch(worker, ears)
                finally:
                    self._worker = None
                    if worker.returncode is None:
                        worker.kill()
                        await worker.wait()
            finally:
                ears.close()

    async def _start(self, path: Path, restarts: int, gone_at: float | None) -> asyncio.subprocess.Process:
        environ = {**os.environ, "NOTIFY_SOCKET": str(path)}
        environ[SUPERVISED] = f"{os.getpid()} {restarts}" + ("" if gone_at is None else f" {gone_at:.6f}")
        for name in ("WATCHDOG_PID", "WATCHDOG_USEC"):
            environ.pop(name, None)
        if self._timeout_s is not None:
            environ["WATCHDOG_USEC"] = str(int(self._timeout_s * 1e6))
        try:
            # A session of its own: an interrupt from the keyboard comes through us, once.
            worker = await asyncio.create_subprocess_exec(
                *self._command, env=environ, start_new_session=True, preexec_fn=_ending_with_parent()
            )
        except OSError as error:
            raise ConfigError(f"cannot run {self._command[0]}: {error.strerror}") from error
        self._worker = worker
        for number in self._signals:
            worker.send_signal(number)
        return worker

    async def _watch(self, worker: asyncio.subprocess.Process, ears: _Ears) -> WorkerEnd:
        silent_s: float | None = None

        async def listen(timeout_s: float) -> None:
            nonlocal silent_s
            await ears.heard.wait()  # before its first sign of life it may load whatever it likes
            looks = 0
            while looks < _LOOKS:
                ears.heard.clear()
                patience_s = max(timeout_s, _ENDING_S) if ears.stopping else timeout_s
                look_s = patience_s / _LOOKS
                due = self._clock.monotonic() + look_s
                if await self._clock.wait(ears.heard, look_s) or ears.heard.is_set():
                    looks = 0
                elif self._clock.monotonic() - due > look_s:
                    looks = 0  # it was us who did not run, and could not listen
                else:
                    looks += 1
            silent_s = patience_s
            with suppress(ProcessLookupError):
                worker.kill()

        async with asyncio.TaskGroup() as group:
            listening = None if self._timeout_s is None else group.create_task(listen(self._timeout_s))
            code = await worker.wait()
            if listening is not None:
                listening.cancel()
        ran_s = None if ears.ready_at is None else self._clock.monotonic() - ears.ready_at
        return WorkerEnd(code, ran_s, silent_s)

    @contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def received(number: int) -> None:
            self._signals.append(number)
            self._signalled.set()
            if self._worker is not None:
                with suppress(ProcessLookupError):
                    self._worker.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, received, number)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _ending_with_parent() -> Callable[[], Any] | None:
    """What a new process does before anything else so that the kernel kills it when its parent is gone; None where the kernel
    cannot."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # gone already
            os._exit(128 + signal.SIGKILL)

    return ask


def _show_cursor() -> None:
    if sys.stdout.isatty():
        sys.stdout.write(_SHOW_CURSOR)
        sys.stdout.flush()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
