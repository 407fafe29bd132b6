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
    pipe.ends_with_everything(60_000)


def _run_with_kills(pipe: Any, events: int, kills: int, lives_s: tuple[float, float], **settings: Any) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    chance = random.Random(seed)
    feed = pipe.feed(events, 20_000)
    for number in range(kills):
        with pipe.job(**settings) as process:
            try:
                process.wait(chance.uniform(*lives_s))
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"seed {seed}: life {number} ended by itself:\n{pipe.said}")
    feed.finish()
    pipe.ends_with_everything(events, **settings)


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
