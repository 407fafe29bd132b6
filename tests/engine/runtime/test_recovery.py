"""From a checkpoint to what the subtasks start from."""

import os
import shutil
import time

import pytest
from tidegate.connectors import OutputLostError, SinkError, Split, files, formats, memory
from tidegate.engine import CheckpointError, CommitError, JobError, OperatorError, RunConfig, Topology, restart, run
from tidegate.engine.clock import SystemClock
from tidegate.engine.testing import BARRIER, CRASH, ScriptedSource, run_script
from tidegate.operators import agg


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


class Ledger:
    """An exactly-once sink whose outside world forgets what was prepared for some commits, as a broker does whose
    transactions expire. `kept` are the committables of a lost checkpoint that were committed all the same."""

    guarantee = "exactly_once"

    def __init__(self, lose_commit, *, partly=False):
        self.visible, self.lost, self.recovered = [], [], []
        self._commits, self._lose_commit, self._partly = 0, lose_commit, partly

    def writer(self, context):
        return LedgerWriter()

    async def commit(self, context, committables):
        self._commits += 1
        if self._commits == self._lose_commit:
            self.lost += committables
        self._take(committables)

    async def recover(self, context, checkpoint_id, committables):
        self.recovered.append(checkpoint_id)
        self._take(committables)

    def _take(self, committables):
        if any(found in self.lost for found in committables):
            raise OutputLostError("the ledger forgot it", partly=self._partly)
        self.visible += [found for found in committables if found not in self.visible]

    def describe(self):
        return "ledger"


class LedgerWriter:
    """Puts the records into the committable."""

    def __init__(self):
        self._values = []

    async def open(self):
        pass

    async def write(self, batch):
        self._values += batch.values

    async def prepare_commit(self, checkpoint_id):
        values, self._values = self._values, []
        return [{"checkpoint": checkpoint_id, "values": values}] if values else []

    async def close(self):
        pass


async def _through_ledger(folder, ledger, **settings):
    """Three checkpoints of two records each into the ledger; what the job told."""
    source = ScriptedSource([1, 2, BARRIER, 3, 4, BARRIER, 5, 6])
    topology = Topology("ledger")
    topology.source("numbers", source).sink("out", ledger)
    events = []
    strategy = restart.fixed_delay(2, "0ms")
    config = RunConfig(checkpoints=folder, checkpoint_interval="1h", restart=strategy, **settings)
    await run_script(topology, source, config, on_event=lambda name, facts: events.append((name, facts)))
    return events


async def test_output_that_is_lost_is_made_again_from_the_checkpoint_before(tmp_path):
    """The outside world forgot what the second checkpoint had prepared: the first is restored, and nothing is lost."""
    ledger = Ledger(lose_commit=2)
    events = await _through_ledger(tmp_path, ledger)
    assert [value for found in ledger.visible for value in found["values"]] == [1, 2, 3, 4, 5, 6]
    assert ledger.recovered == [None, 2, 1]
    (passed_over,) = [facts["reason"] for name, facts in events if name == "checkpoint_passed_over"]
    assert passed_over == "checkpoint 2: its output is lost: the ledger forgot it"
    restored = [facts["restored_from"] for name, facts in events if name == "job_running"]
    assert restored == [None, 1]


async def test_output_that_is_lost_in_part_stops_the_job(tmp_path):
    """A replay would double the part that is visible: the job fails and says what to set."""
    ledger = Ledger(lose_commit=2, partly=True)
    with pytest.raises(CommitError, match="sink 'out' could not commit: the ledger forgot it"):
        await _through_ledger(tmp_path, ledger)
    with pytest.raises(CommitError, match=r"checkpoint 2: .* part of its output is visible.*set allow_repeats"):
        await _through_ledger(tmp_path, ledger)
    assert [value for found in ledger.visible for value in found["values"]] == [1, 2]
    await _through_ledger(tmp_path, ledger, allow_repeats=True)
    assert [value for found in ledger.visible for value in found["values"]] == [1, 2, 3, 4, 5, 6]


async def test_output_that_is_lost_in_part_while_the_job_runs_is_repeated_where_that_is_allowed(tmp_path):
    """The job restarts by itself, as it does when all is lost."""
    ledger = Ledger(lose_commit=2, partly=True)
    events = await _through_ledger(tmp_path, ledger, allow_repeats=True)
    assert [value for found in ledger.visible for value in found["values"]] == [1, 2, 3, 4, 5, 6]
    assert [facts["restored_from"] for name, facts in events if name == "job_running"] == [None, 1]


class CarefulLedger(Ledger):
    """It can be asked what is lost; and refuses to go back behind what is visible."""

    asked = 0

    async def verify(self, context, committables):
        self.asked += 1
        if any(found in self.lost for found in committables):
            raise OutputLostError("the ledger forgot it")

    async def recover(self, context, checkpoint_id, committables):
        await super().recover(context, checkpoint_id, committables)
        if any(found["checkpoint"] > (checkpoint_id or 0) for found in self.visible):
            raise SinkError(f"what is newer than {checkpoint_id} is visible", retriable=False)


async def _through_two(folder, first, second):
    """One record before and one after a checkpoint into two ledgers; what the job told."""
    source = ScriptedSource([1, BARRIER, 2])
    topology = Topology("ledgers")
    stream = topology.source("numbers", source)
    stream.sink("first", first)
    stream.sink("second", second)
    events = []
    config = RunConfig(checkpoints=folder, checkpoint_interval="1h", restart=restart.fixed_delay(2, "0ms"))
    await run_script(topology, source, config, on_event=lambda name, facts: events.append((name, facts)))
    return events


class Unreachable(CarefulLedger):
    """The outside world cannot be reached once, when it is to commit."""

    async def commit(self, context, committables):
        self._commits += 1
        if self._commits == self._lose_commit:
            raise SinkError("gone for a walk", retriable=False)
        self._take(committables)


async def test_no_sink_commits_what_another_one_has_lost(tmp_path):
    """With output of two sinks in a checkpoint both are asked first: one lost it, so the other leaves it invisible too."""
    first, second = Unreachable(lose_commit=2), CarefulLedger(lose_commit=0)
    with pytest.raises(CommitError, match="gone for a walk"):
        await _through_two(tmp_path, first, second)
    second.lost.append({"checkpoint": 2, "values": [2]})
    events = await _through_two(tmp_path, first, second)
    assert first.recovered == [None, 1]
    for ledger in (first, second):
        assert ledger.visible == [{"checkpoint": 1, "values": [1]}, {"checkpoint": 3, "values": [2]}]
    assert [facts["restored_from"] for name, facts in events if name == "job_running"] == [1]


async def test_a_checkpoint_that_cannot_stand_in_for_a_lost_one_says_for_which(tmp_path):
    """One sink had committed, the other lost its part: the refusal of the first names what was passed over, and why."""
    first, second = CarefulLedger(lose_commit=0), Unreachable(lose_commit=2)
    with pytest.raises(CommitError, match="gone for a walk"):
        await _through_two(tmp_path, first, second)
    second.lost.append({"checkpoint": 2, "values": [2]})
    with pytest.raises(CommitError) as failure:
        await _through_two(tmp_path, first, second)
    assert str(failure.value) == (
        "checkpoint 1 cannot stand in for a newer one (checkpoint 2: its output is lost: the ledger forgot it): "
        "what is newer than 1 is visible"
    )


async def test_when_the_first_checkpoint_lost_its_output_the_job_begins_again(tmp_path):
    """Nothing was visible before, so to read all splits from their beginning repeats nothing."""
    ledger = Ledger(lose_commit=1)
    events = await _through_ledger(tmp_path, ledger)
    assert [value for found in ledger.visible for value in found["values"]] == [1, 2, 3, 4, 5, 6]
    assert ledger.recovered == [None, 1, None]
    assert [facts["restored_from"] for name, facts in events if name == "job_running"] == [None, None]


class LatestSource(ScriptedSource):
    """It begins with what comes from now on: where that is stands in the split, and is another place with each discovery."""

    discovered = 0

    async def discover(self, context, known):
        self.discovered += len(known) == 0
        found = await super().discover(context, known)
        return [Split(split.id, {"start": self.discovered}) for split in found]

    def reader(self, context):
        reader = super().reader(context)
        opened = reader.open

        async def open_at_start(split, offset):
            await opened(split, split.where["start"] if offset is None else offset)

        reader.open = open_at_start
        return reader


async def test_a_job_that_begins_again_reads_from_where_it_began(tmp_path):
    """A source that was told to start at the newest record does not start at a newer one."""
    ledger = Ledger(lose_commit=1)
    source = LatestSource([0, 1, 2, BARRIER, 3])
    topology = Topology("ledger")
    topology.source("numbers", source).sink("out", ledger)
    config = RunConfig(checkpoints=tmp_path, checkpoint_interval="1h", restart=restart.fixed_delay(2, "0ms"))
    await run_script(topology, source, config)
    assert [value for found in ledger.visible for value in found["values"]] == [1, 2, 3]


async def test_when_a_later_checkpoint_is_the_only_one_and_lost_its_output_nothing_is_started_by_itself(tmp_path):
    """Output was visible before: a start from nothing is for the user to decide."""
    ledger = Ledger(lose_commit=2, partly=True)
    with pytest.raises(CommitError):
        await _through_ledger(tmp_path, ledger)
    shutil.rmtree(tmp_path / "ledger" / "checkpoints" / "0000000001")
    ledger._partly = False
    with pytest.raises(CheckpointError, match="its output is lost: the ledger forgot it"):
        await _through_ledger(tmp_path, ledger)
    assert [value for found in ledger.visible for value in found["values"]] == [1, 2]


def _restart(folder, events, **more):
    """A run that crashes once behind its first checkpoint and goes on from there."""
    source = ScriptedSource(["a", "b", BARRIER, CRASH, "a", BARRIER])
    topology = Topology("letters")
    counted = topology.source("letters", source).key_by(lambda letter: letter).aggregate(n=agg.count(), name="count")
    counted.sink("out", memory.sink())
    config = RunConfig(checkpoints=folder, checkpoint_interval="1h", restart=restart.fixed_delay(1, "0ms"))
    return run_script(topology, source, config, on_event=lambda name, facts: events.append((name, facts)), **more)


class HastyClock(SystemClock):
    """Whoever sleeps has slept at once."""

    async def sleep(self, seconds):
        await super().sleep(0)


async def test_a_restore_tells_how_far_it_is(tmp_path):
    """Now and then while it goes on, and once at its end; bytes never go back."""
    events = []
    await _restart(tmp_path / "state", events, clock=HastyClock())
    (restored,) = [facts for name, facts in events if name == "state_restored"]
    assert restored["checkpoint_id"] == 1
    assert restored["done_bytes"] == restored["total_bytes"] == restored["linked_bytes"] > 0
    told = [facts["done_bytes"] for name, facts in events if name == "state_restoring"]
    assert told == sorted(told)
    assert len(told) > 1


async def test_what_nobody_names_is_swept_by_a_running_job(tmp_path):
    """Once it has made a checkpoint of its own, and nothing that is younger than an hour."""
    events = []
    contents = tmp_path / "state" / "letters" / "files" / "ab"
    contents.mkdir(parents=True)
    old, young = contents / ("ab" * 32), contents / ("abcd" * 16)
    for orphan, age_s in ((old, 7_200), (young, 60)):
        orphan.write_bytes(b"left by a killed process")
        os.utime(orphan, times=(time.time() - age_s, time.time() - age_s))
    await _restart(tmp_path / "state", events)
    assert not old.exists()
    assert young.exists()
    assert [facts for name, facts in events if name == "orphans_swept"] == [{"contents": 1}]


@pytest.mark.parametrize("back_to", [1, None])
async def test_what_was_left_on_purpose_does_not_come_back(back_to, tmp_path):
    """A start goes back to an older checkpoint, or to none, and dies before its first own one: the next goes on from there."""

    async def one_run(script, **settings):
        topology = Topology("back")
        source = ScriptedSource(script)
        topology.source("numbers", source).sink("out", files.lines(tmp_path / "out", formats.json()))
        config = RunConfig(
            checkpoints=tmp_path / "state", checkpoint_interval="1h", restart=restart.never(), **settings
        )
        await run_script(topology, source, config)

    await one_run([1, BARRIER, 2, BARRIER, 3])
    with pytest.raises(OperatorError):
        await one_run([1, BARRIER, 2, CRASH], restore=back_to)
    await one_run([1, BARRIER, 2, BARRIER, 3])
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert sorted(int(line) for part in parts for line in part.read_text().split()) == [1, 2, 3]
