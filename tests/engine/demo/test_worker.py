"""The worker process: counted over its two lives, killed half way, and what is said when it fails."""

from __future__ import annotations

import pytest
from tidegate.engine import JobError
from tidegate.engine.demo.comparison import compare
from tidegate.engine.demo.data import write_input
from tidegate.engine.demo.folder import prepare_folder
from tidegate.engine.demo.worker import Run, run_worker


def _running(attempt, restored_from):
    return {"event": "job_running", "attempt": attempt, "restored_from": restored_from}


def _progress(read, written):
    return {"event": "progress", "records_in": read, "records_out": written, "late": 0}


def _completed(checkpoint_id, records):
    return {"event": "checkpoint_completed", "checkpoint_id": checkpoint_id, "records": records}


def test_reading_goes_on_from_the_checkpoint():
    """After a restart the flights that the checkpoint holds are counted as read."""
    run = Run(flights=100)
    for event in (_running(1, None), _progress(40, 80), _completed(1, 30), _running(2, 1), _progress(5, 10)):
        run.take(event)
    assert (run.attempt, run.restored_from, run.read, run.written) == (2, 1, 35, 90)


def test_a_checkpoint_that_was_not_told_of_is_no_error():
    """The worker may be killed after the checkpoint was complete and before it said so."""
    run = Run(flights=100)
    for event in (_running(1, None), _progress(40, 80), _running(2, 7)):
        run.take(event)
    assert (run.restored_from, run.read) == (7, 40)


def test_it_is_half_way_with_two_checkpoints():
    """A kill before a checkpoint would show nothing."""
    run = Run(flights=100)
    for event in (_running(1, None), _completed(1, 30), _progress(60, 0)):
        run.take(event)
    assert not run.half_way
    run.take(_completed(2, 60))
    assert run.half_way


@pytest.mark.slow
async def test_a_worker_that_was_killed_goes_on_from_a_checkpoint(small_data, tmp_path):
    """After kill -9 half way the second worker restores, and all rows equal the batch query."""
    prepare_folder(tmp_path, 3000.0)
    flights = write_input(small_data, tmp_path)
    told = []
    run = await run_worker(tmp_path, flights, kill=True, tell=lambda name, facts: told.append(name))
    assert run.killed
    assert run.restored_from is not None
    assert run.attempt == 2
    assert run.read == flights
    assert told.count("running") == 2
    assert told.count("killed") == 1
    assert [one.name for one in compare(small_data, tmp_path / "results") if not one.equal] == []


@pytest.mark.slow
async def test_a_worker_that_fails_shows_the_end_of_its_log(small_data, tmp_path):
    """The message holds the exit code and what the worker said."""
    prepare_folder(tmp_path, None)
    with pytest.raises(JobError, match=r"(?s)exit code 2.*airlines\.csv"):
        await run_worker(tmp_path, 1, kill=False, tell=lambda name, facts: None)


@pytest.mark.slow
async def test_a_worker_that_is_too_quick_cannot_be_killed(small_data, tmp_path):
    """The demo does not claim a kill that has not happened."""
    prepare_folder(tmp_path, None)
    write_input(small_data, tmp_path)
    with pytest.raises(JobError, match="lower --rate"):
        await run_worker(tmp_path, 10**9, kill=True, tell=lambda name, facts: None)
