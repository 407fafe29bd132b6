"""The Faust bridge as a whole, without a broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.connectors.faust import channel_sink, channel_source
from tidegate.engine import RunConfig, Topology, restart, start
from tidegate.operators import agg

from .apps import send_all, waiting


@pytest.mark.slow
def test_the_library_is_not_loaded_with_the_module() -> None:
    """Importing the bridge loads no Faust, and `import faust` beside it is still the library."""
    code = (
        "import sys\n"
        "from tidegate.connectors import faust as bridge\n"
        "assert bridge.channel_source and 'faust' not in sys.modules and 'mode' not in sys.modules\n"
        "import faust\n"
        "assert faust.App is not None and faust is not bridge\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_the_descriptions_say_what_is_not_guaranteed(app: Any) -> None:
    """A plan shows which guarantee ends here."""
    channel, topic = app.channel(), app.topic("orders", "returns")
    assert [thing.describe() for thing in (channel_source(channel), channel_source(topic))] == [
        "faust.channel_source(channel) (not replayable, lost with the process)",
        "faust.channel_source(topic orders,returns) (not replayable, at least once)",
    ]
    assert [channel_sink(channel).describe(), channel_sink(topic).describe()] == [
        "faust.channel_sink(channel) (at least once)",
        "faust.channel_sink(topic orders,returns) (at least once)",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda app: channel_source("orders"), r"faust\.channel_source\('orders'\): pass app\.channel\(\)"),
        (channel_sink, r"faust\.channel_sink\(.*\): pass app\.channel\(\)"),
        (lambda app: channel_source(app.channel(), capacity=0), "capacity=0.*at least 1"),
        (lambda app: channel_sink(app.channel(), max_in_flight=0), "max_in_flight=0.*at least 1"),
    ],
)
async def test_wrong_arguments_are_refused(app: Any, make: Callable[[Any], Any], message: str) -> None:
    """When the description is made, with what to pass instead."""
    with pytest.raises(ValueError, match=message):
        make(app)


@pytest.fixture
def crash_once() -> Iterator[Callable[[int], int]]:
    """A function that raises the first time that it sees 5."""
    seen: list[int] = []

    def function(n: int) -> int:
        if n == 5 and not seen:
            seen.append(n)
            raise RuntimeError("crash")
        return n

    yield function
    assert seen == [5]


async def test_a_job_between_two_channels_survives_its_own_restart(
    app: Any, tmp_path: Path, crash_once: Callable[[int], int]
) -> None:
    """No event is lost or counted twice when the job fails and restores inside the process."""
    numbers, totals = app.channel(), app.channel()
    source, stream = channel_source(numbers, capacity=3), aiter(totals)
    exact = memory.sink()
    topology = Topology("restarts")
    summed = (
        topology.source("numbers", source)
        .map(crash_once, name="crash")
        .key_by(lambda n: n % 2, key_type=int)
        .aggregate(name="totals", total=agg.sum(lambda n: n))
    )
    summed.sink("back", channel_sink(totals))
    summed.map(lambda result: (result.key, result.total), name="pairs").sink("exact", exact)
    config = RunConfig(
        checkpoints=tmp_path / "state",
        checkpoint_interval="10ms",
        restart=restart.fixed_delay(1, "0ms"),
        state_backend="dict",
    )
    async with start(topology, config) as job:
        await send_all(numbers, range(10))
        source.close()
        await job.wait()
    assert sorted(exact.values) == sorted(
        [(0, 0), (0, 2), (0, 6), (0, 12), (0, 20), (1, 1), (1, 4), (1, 9), (1, 16), (1, 25)]
    )
    sent = [(result.key, result.total) for result in waiting(stream)]
    assert set(sent) == set(exact.values)  # at least once: some may be there twice
    assert list(source._held) == []
