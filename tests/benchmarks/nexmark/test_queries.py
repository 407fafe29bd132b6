"""Each query against DuckDB: run through, and crashed between checkpoints and restored at another parallelism."""

from __future__ import annotations

from pathlib import Path

import pytest
from tidegate.engine import JobStatus, RunConfig, start

from benchmarks.nexmark.answers import check
from benchmarks.nexmark.generator import Settings, events_file
from benchmarks.nexmark.queries import NAMES, topology


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files of events are kept."""
    return tmp_path_factory.mktemp("nexmark")


async def _crashes_after_three_checkpoints(query: str, events: Path, folder: Path, rate_limit: float) -> None:
    """Two subtasks each, until the third checkpoint is complete; whatever came after it is lost."""
    made = topology(query, events, folder / "out", rate_limit=rate_limit, follow=True)
    config = RunConfig(checkpoints=folder / "state", checkpoint_interval="1d", parallelism=2)
    async with start(made, config) as job:
        await job.began.wait()
        for _ in range(3):
            await job.clock.sleep(0.06)
            await job.checkpoint()
        await job.cancel()


async def _right(query: str, n: int, folder: Path, tmp_path: Path, rate_limit: float) -> None:
    events = events_file(folder, n, Settings(rate=1_000, disorder=100))
    await _crashes_after_three_checkpoints(query, events, tmp_path, rate_limit)
    config = RunConfig(checkpoints=tmp_path / "state", parallelism=3)
    async with start(topology(query, events, tmp_path / "out"), config) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert check(query, events, tmp_path / "out") > 0


@pytest.mark.slow
@pytest.mark.parametrize("query", NAMES)
async def test_a_query_that_crashed_and_went_on_at_another_parallelism_gives_the_answer(
    query: str, folder: Path, tmp_path: Path
) -> None:
    """Nothing is lost and nothing doubled."""
    await _right(query, 20_000, folder, tmp_path, 30_000)


@pytest.mark.long
@pytest.mark.parametrize("n", [100_000, 1_000_000])
@pytest.mark.parametrize("query", NAMES)
async def test_a_query_over_many_events_gives_the_answer_after_a_crash(
    query: str, n: int, folder: Path, tmp_path: Path
) -> None:
    """The same; a million events are seventeen minutes of event time."""
    await _right(query, n, folder, tmp_path, 1.5 * n)


@pytest.mark.long
@pytest.mark.parametrize("n", [100_000, 1_000_000])
@pytest.mark.parametrize("query", NAMES)
async def test_a_query_over_many_events_gives_the_answer(query: str, n: int, folder: Path, tmp_path: Path) -> None:
    """Run through, in order of time."""
    events = events_file(folder, n, Settings(rate=1_000))
    async with start(topology(query, events, tmp_path / "out"), RunConfig()) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert check(query, events, tmp_path / "out") > 0
