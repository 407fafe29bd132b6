"""What a program uses, with every process that it starts: JVMs, workers, and those that outlive their parents."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from .scenario import BenchmarkError

_SUBREAPER: Final = 36
"""PR_SET_CHILD_SUBREAPER of Linux's prctl."""
_LOOK_EVERY_S: Final = 0.2
_LEFT_OVER_S: Final = 30.0


@dataclass(frozen=True)
class Used:
    """What a program used.

    Attributes:
        wall_s: from its start until its first process ended.
        cpu_s: of all its processes, user and system, until the last of them ended.
        peak_rss_bytes: the most that its processes had resident together, looked at five times a second; what they share is
            counted in each.
        stdout: what it printed.
    """

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    stdout: str


def run_tree(command: Sequence[str], work: Path, *, cwd: Path, longest_s: float) -> Used:
    """Run a program to the end of its last process. It must be the only child of this process.

    Args:
        command: the program and its arguments.
        work: where what it prints is kept meanwhile.
        cwd: where it runs.
        longest_s: after so long it is killed.

    Raises:
        BenchmarkError: it failed or took too long, with what it said last; or this is not Linux.
    """
    _adopt_orphans()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    paths = work / "stdout", work / "stderr"
    with paths[0].open("wb") as stdout, paths[1].open("wb") as stderr:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, stdout=stdout, stderr=stderr)
        try:
            wall_s, peak_rss_bytes = _watch(process.pid, began, longest_s)
            code = process.wait()
            _reap(longest_s=_LEFT_OVER_S)
        except BaseException as error:
            _kill()
            process.wait()
            if isinstance(error, TimeoutError):
                raise BenchmarkError(_said(paths[1], "did not end in time")) from None
            raise
    if code:
        raise BenchmarkError(_said(paths[1], f"ended with exit code {code}"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Used(wall_s, cpu_s, peak_rss_bytes, paths[0].read_text(errors="replace"))


def _adopt_orphans() -> None:
    """Processes whose parents have ended become children of this one: whoever waits for a process is told its CPU time."""
    if sys.platform != "linux":
        raise BenchmarkError("the CPU time of other engines, with all their processes, is known on Linux only")
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _watch(pid: int, began: float, longest_s: float) -> tuple[float, int]:
    """Wait for the first process, and look at the memory of all. It is not reaped."""
    peak = 0
    descriptor = os.pidfd_open(pid)
    try:
        while not select.select([descriptor], [], [], _LOOK_EVERY_S)[0]:
            peak = max(peak, sum(map(_rss_bytes, psutil.Process().children(recursive=True))))
            if time.perf_counter() - began > longest_s:
                raise TimeoutError
        return time.perf_counter() - began, peak
    finally:
        os.close(descriptor)


def _rss_bytes(process: psutil.Process) -> int:
    try:
        resident: int = process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0
    return resident


def _reap(longest_s: float) -> None:
    """Wait for the processes that are left: a JVM notices the end of its parent by itself, some time later.

    Raises:
        TimeoutError: one of them does not end.
    """
    until = time.perf_counter() + longest_s
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            if time.perf_counter() > until:
                raise TimeoutError
            time.sleep(0.01)


def _kill() -> None:
    """End what is left of the program."""
    while children := psutil.Process().children(recursive=True):
        for child in children:
            try:
                child.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _said(stderr: Path, what: str) -> str:
    """With the last lines on stderr."""
    return "\n".join([what, *stderr.read_text(errors="replace").strip().splitlines()[-12:]])
