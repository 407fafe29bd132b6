"""From a checkpoint to what the subtasks start from."""

import pytest
from tidegate.connectors import files, formats
from tidegate.engine import JobError, RunConfig, Topology, restart, run


def _run(folder, *, event_time):
    """One run over all files of a folder; what has come out so far."""
    topology = Topology("files")
    source = files.lines(folder / "in", formats.json(dict))
    settings = {"event_time": "at"} if event_time else {}
    out = files.lines(folder / "out", formats.json())
    topology.source("records", source, **settings).map(lambda r: r["at"]).sink("out", out)
    run(topology, RunConfig(checkpoints=folder / "state", restart=restart.never()), live=False)
    parts = sorted((folder / "out").glob("*.jsonl"))
    return [int(line) for part in parts for line in part.read_text().split()]


@pytest.fixture
def folder(tmp_path):
    """A folder with one file of two records."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"at": 1}\n{"at": 2}\n')
    return tmp_path


def test_files_that_came_after_the_end_are_read_by_the_next_run(folder):
    """Without event time nothing is late: the next run reads what is new, and only that."""
    assert _run(folder, event_time=False) == [1, 2]
    (folder / "in" / "b.jsonl").write_text('{"at": 3}\n')
    assert _run(folder, event_time=False) == [1, 2, 3]


def test_files_that_came_after_the_end_of_event_time_are_refused(folder):
    """The final watermark has passed, so every record would be late: better one clear error than silence."""
    assert _run(folder, event_time=True) == [1, 2]
    (folder / "in" / "b.jsonl").write_text('{"at": 3}\n')
    with pytest.raises(JobError, match=r"source 'records' has 1 new splits since \(b\.jsonl"):
        _run(folder, event_time=True)


def test_a_finished_job_without_new_files_ends_at_once(folder):
    """Starting it again is no error and writes nothing."""
    assert _run(folder, event_time=True) == [1, 2]
    assert _run(folder, event_time=True) == [1, 2]
