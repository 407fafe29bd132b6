"""Blocking functions that stop where they do I/O, so that others run in between.

A function of the executor may make several calls to the outside world; between two of them another process may do
something. So it runs on a thread, but only while the simulation waits for it: one of the two runs at any time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Threads = ThreadPoolExecutor
"""Where blocking calls run; one for a simulation."""

_here = threading.local()


class BlockingCall:
    """One call of a blocking function."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.delay = 0.0
        self._function = function
        self._args = args
        self._ended = False
        self._begun = False
        self._thrown: BaseException | None = None
        self._goes = threading.Semaphore(0)
        self._stands = threading.Semaphore(0)

    def resume(self, threads: Threads, error: BaseException | None = None) -> bool:
        """Let it run to its next pause or to its end; whether it has ended. With an error that is raised where it pauses."""
        self._thrown = error
        if self._begun:
            self._goes.release()
        else:
            self._begun = True
            threads.submit(self._run)
        self._stands.acquire()
        return self._ended

    def _run(self) -> None:
        _here.call = self
        try:
            self.result = self._function(*self._args)
        except BaseException as error:
            self.error = error
        finally:
            _here.call = None
            self._ended = True
            self._stands.release()

    def pause(self, delay: float) -> None:
        """Called by the function: let others run for so many seconds."""
        self.delay = delay
        self._stands.release()
        self._goes.acquire()
        if self._thrown is not None:
            raise self._thrown


def pause(delay: float) -> None:
    """Let others run for so many seconds of virtual time; nothing outside of a blocking call."""
    call: BlockingCall | None = getattr(_here, "call", None)
    if call is not None:
        call.pause(delay)
