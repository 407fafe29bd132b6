"""A topology as the whole program."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
from typing import Any

import pytest
from tidegate.connectors import SinkError, memory
from tidegate.engine import Interrupted, JobStatus, OperatorError, RunConfig, Topology, run


def _topology(source: Any, sink: Any, function: Any = str) -> Topology:
    topology = Topology("program")
    topology.source("numbers", source).map(function, name="text").sink("out", sink)
    return topology


class Away(memory.ListSink[Any]):
    """A sink that cannot commit, and sends the process a signal each time it is asked to."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    async def commit(self, context: Any, committables: Any) -> None:
        if committables:
            os.kill(os.getpid(), self.number)
            raise SinkError("away")


def test_run_blocks_until_the_end_and_says_how_it_ended():
    """Without checkpoints everything is committed at the end of the stream."""
    sink = memory.sink()
    assert run(_topology(memory.source([1, 2]), sink), stream=io.StringIO()) is JobStatus.FINISHED
    assert sink.values == ["1", "2"]


def test_a_failure_is_raised():
    """With the operator's name and the user's exception."""
    with pytest.raises(OperatorError, match="'text' failed"):
        run(_topology(memory.source([0]), memory.sink(), lambda n: 1 // n), stream=io.StringIO())


def test_json_is_one_object_per_line(tmp_path):
    """Machines read each event by its name."""
    out, seen = io.StringIO(), []
    config = RunConfig(checkpoints=tmp_path, metrics_port=0)
    run(
        _topology(memory.source([1]), memory.sink()),
        config,
        json=True,
        stream=out,
        on_event=lambda name, facts: seen.append(name),
    )
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    names = [event["event"] for event in events if event["event"] != "progress"]
    assert names == seen
    assert names == ["metrics_served", "job_running", "checkpoint_completed", "job_ended"]
    assert events[0]["port"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(number, tmp_path):
    """What was read is committed, and the job has stopped."""
    sink = memory.sink()

    def send(n: int) -> int:
        if n == 5:
            os.kill(os.getpid(), number)
        return n

    source = memory.source([*range(100_000)])
    config = RunConfig(checkpoints=tmp_path, checkpoint_interval="1h", max_batch=10)
    assert run(_topology(source, sink, send), config, stream=io.StringIO()) is JobStatus.STOPPED
    assert sink.values == [*range(len(sink.values))]
    assert 5 < len(sink.values) < 100_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_cancels(number, tmp_path):
    """A job that cannot commit is ended at once; the error carries the signal."""
    config = RunConfig(checkpoints=tmp_path)
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught:
        run(_topology(memory.source([1]), Away(number)), config, stream=io.StringIO())
    assert caught.value.signal == number


def test_the_process_gets_back_what_run_took():
    """Signal handlers and the garbage collector's settings are as before."""
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), gc.get_threshold())
    run(_topology(memory.source([1]), memory.sink()), stream=io.StringIO())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), gc.get_threshold()) == before
