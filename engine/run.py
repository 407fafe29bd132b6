"""Run a topology as the whole program: signals, metrics, control socket, and a view for people."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from .config import RunConfig
from .control import local_directory, serve_control
from .job import Job, JobStatus, OnEvent
from .logs import json_events, logged_events
from .metrics.observe import observe
from .supervised import Supervised
from .topology import Topology

_FRESH_OBJECTS = 50_000
_SAME_SIGNAL_S = 0.05
"""Process groups and wrappers such as `timeout` deliver one signal twice: so close together it is the same."""


class Interrupted(KeyboardInterrupt):
    """A second signal cancelled the job.

    Attributes:
        signal: its number.
    """

    def __init__(self, number: int) -> None:
        self.signal = number
        super().__init__(f"cancelled by {signal.Signals(number).name}")


def run(
    topology: Topology,
    config: RunConfig | None = None,
    *,
    live: bool | None = None,
    json: bool = False,
    stream: TextIO | None = None,
    on_event: OnEvent | None = None,
) -> JobStatus:
    """Run a topology until it ends; how it ended. Owns the process meanwhile: to run inside a program, use `start`.

    The first SIGINT or SIGTERM drains the job and ends it with a last checkpoint; the second cancels it. Under systemd
    (`Type=notify`) or `supervise`, whoever watches is told when the job runs, and given signs of life.

    Args:
        topology: what to run.
        config: how.
        live: draw a live table; None: when `stream` is a terminal.
        json: write one JSON object per event and interval to `stream`.
        stream: where it is shown; standard output when None.
        on_event: called with (name, facts) as by `start`.

    Raises:
        TidegateError: it could not start, or failed; says where and what to do.
        Interrupted: a second signal cancelled it.
    """
    out = sys.stdout if stream is None else stream
    return run_job(Job(topology, config or RunConfig(), on_event=shown_events(json, out, on_event)), live, json, out)


def run_job(job: Job, live: bool | None, json: bool, out: TextIO) -> JobStatus:
    """Run a job that has been made until it ends, owning the process. Arguments and errors as `run`."""
    with _collecting_less_garbage(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_own_the_process(job, live=out.isatty() if live is None else live, json=json, stream=out))


async def _own_the_process(job: Job, *, live: bool, json: bool, stream: TextIO) -> JobStatus:
    config = job.config
    watched = Supervised.of(os.environ)
    async with contextlib.AsyncExitStack() as stack:
        tell = await stack.enter_async_context(watched.signs_of_life(job.clock, job.request_stop))
        if config.metrics_port is not None:
            from .metrics.prometheus import serve_metrics

            port = await stack.enter_async_context(
                serve_metrics(job.measures, job.clock, config.metrics_host, config.metrics_port)
            )
            job.event("metrics_served", {"host": config.metrics_host, "port": port})
        signals = stack.enter_context(_signals(job))
        await stack.enter_async_context(job)
        directory = None if config.checkpoints is None else local_directory(config.checkpoints)
        await job.began.wait()
        if not job.status.over:
            if watched.gone_at is not None:
                job.measures.restarts = watched.restarts - 1
                job.measures.recovered((job.clock.monotonic() - watched.gone_at) * 1000)
            tell("READY=1")
        if directory is not None and not job.status.over:
            await stack.enter_async_context(serve_control(job, directory / job.name, job.clock))
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(
                observe(
                    job,
                    json=json,
                    live=live,
                    interval_s=0.5 if live and not json else config.report_interval_ms / 1000,
                    stream=stream,
                    clock=job.clock,
                )
            )
            try:
                await job.over.wait()
            finally:
                watching.cancel()
        tell("STOPPING=1")
        status = await job.wait()
    if status is JobStatus.CANCELLED and signals:
        raise Interrupted(signals[-1])
    return status


@contextlib.contextmanager
def _signals(job: Job) -> Iterator[list[int]]:
    """The first signal drains, the next cancels; gives the signals that came."""
    loop = asyncio.get_running_loop()
    came: list[int] = []
    last = -_SAME_SIGNAL_S

    def received(number: int) -> None:
        nonlocal last
        now = job.clock.monotonic()
        echo, last = now - last < _SAME_SIGNAL_S, now
        if echo:
            return
        came.append(number)
        if len(came) == 1:
            job.event("signal", {"signal": signal.Signals(number).name, "then": "stopping with a last checkpoint"})
            job.request_stop()
        else:
            job.request_cancel()

    handled = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(RuntimeError, ValueError):  # not in this thread
            loop.add_signal_handler(number, received, number)
            handled.append(number)
    try:
        yield came
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _collecting_less_garbage() -> Iterator[None]:
    """What is there now will stay, and a batch makes thousands of objects that die by reference count: the collector would
    look at them for nothing."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_FRESH_OBJECTS, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def shown_events(json: bool, stream: TextIO, on_event: OnEvent | None) -> OnEvent:
    """What a job tells, shown as `json` says and passed on."""
    from .clock import SystemClock

    show = json_events(stream, SystemClock()) if json else logged_events

    def tell(name: str, facts: dict[str, Any]) -> None:
        show(name, facts)
        if on_event is not None:
            on_event(name, facts)

    return tell
