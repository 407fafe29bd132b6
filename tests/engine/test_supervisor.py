"""A process that is started again when it dies of what a restart can cure."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tidegate.engine import ConfigError, restart, supervise
from tidegate.engine.clock import SystemClock
from tidegate.engine.supervisor import WorkerEnd

READY = """
import os, socket, sys, time
def tell(text):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text, os.environ["NOTIFY_SOCKET"])
"""


def _again(attempts: int) -> restart.RestartStrategy:
    return restart.fixed_delay(attempts, "1ms")


class Told:
    """What the supervisor tells."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, facts: dict[str, Any]) -> None:
        self.events.append((name, facts))

    @property
    def reasons(self) -> list[str]:
        return [facts["reason"] for _, facts in self.events]


def _python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", READY + code]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130, 143])
def test_an_exit_code_that_says_enough_is_the_supervisors_own(code):
    """Nothing is started again: the job is over, or failed for good, or was never right."""
    told = Told()
    assert supervise(["sh", "-c", f"exit {code}"], restart=_again(5), on_event=told) == code
    assert told.events == []


def test_a_worker_that_is_killed_is_started_again(tmp_path):
    """With the reason, and the count of restarts."""
    count = tmp_path / "count"
    command = ["sh", "-c", f"echo x >> {count}; [ $(wc -l < {count}) -ge 3 ] || kill -9 $$"]
    told = Told()
    assert supervise(command, restart=_again(5), on_event=told) == 0
    assert told.events == [
        ("worker_restarting", {"reason": "it was killed by SIGKILL", "delay_s": 0.001, "restarts": n}) for n in (1, 2)
    ]


def test_an_exit_code_that_is_none_of_ours_is_started_again_up_to_the_limit():
    """After the last restart the worker's own code is what remains."""
    told = Told()
    assert supervise(["sh", "-c", "exit 70"], restart=_again(2), on_event=told) == 70
    assert [name for name, _ in told.events] == ["worker_restarting", "worker_restarting", "worker_given_up"]
    assert set(told.reasons) == {"it ended with exit code 70 before its job ran"}
    assert told.events[-1][1]["restarts"] == 2


def test_a_worker_given_up_after_a_signal_ends_as_a_shell_tells_it():
    """128 plus its number."""
    assert supervise(["sh", "-c", "kill -SEGV $$"], restart=restart.never(), on_event=Told()) == 128 + signal.SIGSEGV


def test_a_start_that_fails_is_tried_again_once_a_worker_has_run(tmp_path):
    """The arguments were right before: what keeps it away now is outside, and may come back."""
    count = tmp_path / "count"
    code = f"""
with open({str(count)!r}, "a") as file: file.write("x")
n = os.path.getsize({str(count)!r})
if n in (1, 4): tell(b"READY=1")
if n == 1: os.kill(os.getpid(), 9)
if n < 4: sys.exit(n - 1)
"""
    told = Told()
    assert supervise(_python(code), restart=_again(9), on_event=told) == 0
    assert told.reasons == [
        "it was killed by SIGKILL",
        "it ended with exit code 1 before its job ran",
        "it ended with exit code 2 before its job ran",
    ]


def test_a_start_without_its_object_store_is_tried_again(tmp_path):
    """Also the first one: the exit code says that it is the world's fault."""
    count = tmp_path / "count"
    command = ["sh", "-c", f"echo x >> {count}; [ $(wc -l < {count}) -ge 3 ] || exit 4"]
    told = Told()
    assert supervise(command, restart=_again(5), on_event=told) == 0
    assert told.reasons == ["it ended with exit code 4 before its job ran"] * 2


def test_a_worker_learns_of_its_restarts(tmp_path):
    """How many there were, and when the one before was gone."""
    seen = tmp_path / "seen"
    code = f"""
words = os.environ["TIDEGATE_SUPERVISED"].split()
assert int(words[0]) == os.getppid()
print(*words[1:], file=open({str(seen)!r}, "a"))
if words[1] != "2": os.kill(os.getpid(), 9)
assert 0 <= time.monotonic() - float(words[2]) < 60
"""
    assert supervise(_python(code), restart=_again(9), on_event=Told()) == 0
    first, *rest = seen.read_text().splitlines()
    assert first == "0"
    assert [line.split()[0] for line in rest] == ["1", "2"]


@pytest.mark.parametrize("silence", ["os.kill(os.getpid(), 19)", "time.sleep(60)"], ids=["stopped", "blocked"])
def test_a_worker_without_a_sign_of_life_is_killed_and_started_again(silence, tmp_path):
    """Whether it was stopped or its loop hangs: it has spoken once, and then no more."""
    mark = tmp_path / "mark"
    code = f"""
if os.path.exists({str(mark)!r}): sys.exit(0)
open({str(mark)!r}, "w").close()
tell(b"WATCHDOG=1")
{silence}
"""
    told = Told()
    assert supervise(_python(code), restart=_again(1), timeout="100ms", on_event=told) == 0
    assert told.reasons == ["it gave no sign of life for 0.1 s and was killed"]


class _StandingStill(SystemClock):
    """The clock of a machine that stands still for a while, once, as soon as somebody waits."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stood = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._stood

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if seconds is not None and not event.is_set() and not self._stood:
            self._stood = self._seconds
            return False
        return await super().wait(event, seconds)


@pytest.mark.parametrize("seconds", [18.0, 24.0, 600.0])
def test_a_worker_is_not_killed_because_the_machine_stood_still(seconds):
    """It was stopped together with its supervisor, who could not have heard it."""
    told = Told()
    code = 'tell(b"WATCHDOG=1"); time.sleep(0.2)'
    assert supervise(_python(code), timeout="15s", clock=_StandingStill(seconds), on_event=told) == 0
    assert told.events == []


def test_a_worker_whose_job_is_over_may_take_its_time_to_end():
    """A job that has ended for good is not run again because its process was slow to go: it may have been replaced."""
    told = Told()
    code = 'tell(b"STOPPING=1"); time.sleep(0.2); sys.exit(3)'
    assert supervise(_python(code), restart=_again(1), timeout="10ms", on_event=told) == 3
    assert told.events == []


def test_a_worker_that_has_not_spoken_yet_may_take_its_time():
    """It may load what it likes before its event loop runs."""
    assert supervise(_python("time.sleep(0.2)"), restart=_again(1), timeout="10ms", on_event=Told()) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_passed_on_and_end_the_supervision(number, tmp_path):
    """The worker decides how it ends; it is not started again, even if it dies of it."""
    code = f"""
import signal
def received(number, frame):
    seen.append(number)
    if len(seen) == 2: os.kill(os.getpid(), 9)
    os.kill(os.getppid(), {number})
seen = []
signal.signal({number}, received)
os.kill(os.getppid(), {number})
while True: time.sleep(1)
"""
    told = Told()
    assert supervise(_python(code), restart=_again(5), on_event=told) == 128 + signal.SIGKILL
    assert told.events == []


def test_a_signal_ends_the_wait_for_a_restart():
    """Nothing runs that could be drained."""

    def on_event(name: str, facts: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    strategy = restart.fixed_delay(5, "1h")
    assert supervise(["sh", "-c", "kill -9 $$"], restart=strategy, on_event=on_event) == 0


def test_the_worker_is_a_session_of_its_own_and_has_the_supervisors_output(capfd):
    """Ctrl-C on a terminal comes through the supervisor, once."""
    assert supervise(_python("print(os.getsid(0) == os.getpid())"), on_event=Told()) == 0
    assert capfd.readouterr().out == "True\n"


def test_a_command_that_cannot_be_run_is_one_clear_error(tmp_path):
    """It names the command and the reason."""
    with pytest.raises(ConfigError, match=r"cannot run .*missing: No such file"):
        supervise([str(tmp_path / "missing")], on_event=Told())


@pytest.mark.parametrize("timeout", ["soon", "0s"])
def test_a_timeout_that_is_none_is_refused(timeout):
    """Before anything is started."""
    with pytest.raises(ConfigError, match="timeout of the supervisor"):
        supervise(["true"], timeout=timeout)


def test_nothing_is_left_of_the_sockets(monkeypatch):
    """They go with each worker."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        supervise(["sh", "-c", "exit 9"], restart=_again(2), on_event=Told())
        assert list(Path(folder).iterdir()) == []


def test_a_temporary_folder_may_have_a_long_name(tmp_path, monkeypatch):
    """Longer than the path of a socket may be."""
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert supervise(_python('tell(b"READY=1")'), on_event=Told()) == 0


@pytest.mark.parametrize(
    ("end", "curable"),
    [
        (WorkerEnd(0, 5.0), False),
        (WorkerEnd(1, 5.0), False),
        (WorkerEnd(1), True),
        (WorkerEnd(2), True),
        (WorkerEnd(3), False),
        (WorkerEnd(143, 1.0), False),
        (WorkerEnd(-9), True),
        (WorkerEnd(70, 1.0), True),
    ],
)
def test_what_a_restart_can_cure(end, curable):
    """Of a job that has run before."""
    assert end.is_curable(ran_before=True) is curable


def test_the_usual_restarts_are_limited_in_a_row_and_not_in_all():
    """A worker that ran for a minute was healthy."""
    from tidegate.engine.restart import Failure
    from tidegate.engine.supervisor import supervised_restarts

    strategy = supervised_restarts()
    ill = [Failure(1.0)] * 20
    assert strategy.decide(ill, Random(1)) == pytest.approx(30, rel=0.1)
    assert strategy.decide([*ill, Failure(1.0)], Random(1)) is None
    assert strategy.decide([*ill, Failure(60.0)], Random(1)) == pytest.approx(0.1, rel=0.11)
