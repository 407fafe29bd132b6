"""`kill -9` of a job between Kafka topics: a plain reader of committed records sees every result exactly once."""

from __future__ import annotations

import os
import random
import subprocess
from typing import Any

import pytest

PLACES = [
    "after prepare, before the manifest",
    "after the manifest, before EndTxn",
    "before an EndTxn",
    "between two EndTxn",
    "in a restore, before the sinks recover",
    "in a restore, after a sink has recovered",
    "in a restore, before the state is opened",
]


def _repaired(pipe: Any, events: int, **settings: Any) -> dict[str, int]:
    """The last life restores a checkpoint, and then every result is there once, as those before it were. How many of each
    kind there were before."""
    before = {name: pipe.visible(name) for name in pipe.expected(0)}
    last = pipe.ends_with_everything(events, **settings)
    assert [start["restored_from"] is not None for start in last.told("job_running")] == [True]
    for name, results in pipe.expected(events).items():
        assert before[name] <= results
        assert pipe.visible(name) == results
    return {name: found.total() for name, found in before.items()}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_job_that_dies_there_gives_every_result_once(place: str, make_pipe: Any) -> None:
    """Two sinks, so that a checkpoint has several transactions; and one that dies in a recovery has died before."""
    pipe = make_pipe("copy", "windows")
    feed = pipe.feed(60_000)
    if "restore" in place:
        pipe.dies(die_at="between two EndTxn", die_after=5, rate_limit=20_000)
        pipe.dies(die_at=place)
    else:
        pipe.dies(die_at=place, die_after=5, rate_limit=20_000)
    feed.finish()
    assert 0 < _repaired(pipe, 60_000)["copy"] < 60_000


def _run_with_kills(pipe: Any, events: int, kills: int, lives_s: tuple[float, float], **settings: Any) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    chance = random.Random(seed)
    feed = pipe.feed(events, 20_000)
    for number in range(kills):
        with pipe.job(**settings) as process:
            if number == 0:
                process.goes_on()  # those after it have a checkpoint to restore
            try:
                process.wait(chance.uniform(*lives_s))
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"seed {seed}: life {number} ended by itself:\n{pipe.said}")
    feed.finish()
    _repaired(pipe, events, **settings)


@pytest.mark.slow
def test_three_kills(make_pipe: Any) -> None:
    """A job that was killed three times gives every record and every window once."""
    _run_with_kills(make_pipe("copy", "windows"), 100_000, 3, (1.0, 2.5))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["copy", "windows"])
def test_thirty_kills_while_producers_write(kind: str, make_pipe: Any) -> None:
    """Producers write 20,000 records a second all the while."""
    _run_with_kills(make_pipe(kind), 1_200_000, 30, (0.8, 2.5))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_thirty_kills_with_parallel_subtasks(make_pipe: Any) -> None:
    """Several transactions in each checkpoint."""
    _run_with_kills(make_pipe("copy", "windows"), 1_200_000, 30, (0.8, 2.5), parallelism=2)
