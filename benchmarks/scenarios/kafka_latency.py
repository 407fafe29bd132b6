"""From a record's arrival in a topic to the moment at which others see its result in another one, at a steady rate."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from tidegate.connectors import formats, kafka
from tidegate.engine import Topology

from ..kafka_results import writing_side
from ..kafka_topics import create
from ..kafka_traffic import LAST_S, RATE_PER_S, WARM_UP_S, Bid, Converted, passes
from ..scenario import BenchmarkError, Figures, Scenario, Setup, Wanted
from ..stopwatch import time_job
from .kafka_compared import GUARANTEES, Guarantee, with_checkpoints

_INTERVAL_MS: Final = 1000
_ROOT: Final = Path(__file__).resolve().parents[2]


def topology(setup: Setup, source: str, sink: str, guarantee: Guarantee) -> Topology:
    """Bids above 1000, converted."""
    made = Topology("kafka-latency")
    bids = made.source("bids", kafka.source(setup.kafka.servers, source, format=formats.json(Bid)))
    expensive = bids.filter(lambda bid: passes(bid.price))
    converted = expensive.map(lambda bid: Converted(bid.number, bid.auction, bid.price * 0.908, bid.due_ns))
    # Without another event time a record has the broker's: when it arrived.
    converted.sink(
        "out",
        kafka.sink(
            setup.kafka.servers, sink, format=formats.json(), key="auction", timestamp="event_time", delivery=guarantee
        ),
    )
    return made


def _side(side: str) -> tuple[str, Callable[[Setup], Figures]]:
    def write(setup: Setup, topic: str) -> Figures:
        source = f"{topic}-in"
        create(setup.kafka.servers, source, {"message.timestamp.type": "LogAppendTime"})
        config = replace(with_checkpoints(setup, side), stop_after_records=setup.events)
        with ExitStack() as stack:
            watcher = stack.enter_context(_process(setup, "watch", topic))
            _line(watcher, "watch")
            writer = stack.enter_context(_process(setup, "write", source))
            figures = time_job(topology(setup, source, topic, GUARANTEES[side]), config)
            for process, what in ((writer, "write"), (watcher, "watch")):
                figures |= json.loads(_line(process, what))
        return figures | {"cpu_s_per_million": figures["cpu_s"] * 1e6 / setup.events}

    return writing_side(side, write)


@contextmanager
def _process(setup: Setup, what: str, topic: str) -> Iterator[subprocess.Popen[str]]:
    """The writer or the watcher; it ends with the block."""
    command = [sys.executable, "-m", "benchmarks.kafka_traffic", what]
    command += ["--servers", setup.kafka.servers, "--topic", topic, "--count", str(setup.events)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str], what: str) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise BenchmarkError(f"kafka-latency: the process that is to {what} ended with {process.wait()}")
    return line


SCENARIO = Scenario(
    title=f"{RATE_PER_S:,} records per second from topic to topic: arrival to visible result, a checkpoint every second",
    sides=dict(_side(side) for side in ("at-least-once", "exactly-once")),
    events=20 * RATE_PER_S,
    wanted=(
        Wanted("at-least-once.p99_ms", "at_most", 50.0, "p99 within 50 ms at least once"),
        Wanted(
            "exactly-once.p99_ms", "at_most", 1.3 * _INTERVAL_MS, "p99 within 1.3 checkpoint intervals exactly once"
        ),
    ),
    reads_bids=False,
    needs_broker=True,
    one_core=False,
    repeat=3,
    note="Counted from the moment at which the broker has the record to the one at which a read_committed consumer in another "
    "process has its result; since_due_p99 is from the moment at which the record was due, by a timetable. The broker, the "
    "writer, the watcher and the job share the machine's cores. The first "
    f"{WARM_UP_S} and the last {LAST_S} seconds do not count.",
)
