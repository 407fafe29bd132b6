"""The exactly-once file sink: staged, renamed at commit, set aside when a restore goes back."""

import csv
import gzip
import json
import logging
import os
import struct

import msgspec
import pytest
import zstandard
from tidegate.connectors import SinkError, files, formats
from tidegate.engine.testing.connector_suites import SinkSuite
from tidegate.engine.testing.contexts import ManualSinkContext, ManualSourceContext
from tidegate.operators.batch import Batch


def _parts(folder):
    """The visible files, by name relative to the folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and ".staged" not in path.relative_to(folder).parts
    )


def _rows(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    data = zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data
    return [json.loads(line) for line in data.splitlines()]


class _Suite(SinkSuite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path / "out"

    def rows(self, path):
        return _rows(path)

    def visible(self):
        return [row for name in _parts(self.folder) for row in self.rows(self.folder / name)]


class TestJsonLines(_Suite):
    """JSON lines, one part each."""

    def sink(self):
        return files.lines(self.folder, formats.json())


class TestRollingGzip(_Suite):
    """Many small compressed parts in partition folders."""

    def sink(self):
        return files.lines(self.folder, compression="gzip", roll_size=1, partition_by="n")


class TestZstd(_Suite):
    """Parts compressed by zstd."""

    def sink(self):
        return files.lines(self.folder, compression="zstd")


class TestCsv(_Suite):
    """Every part has its header."""

    def sink(self):
        return files.csv(self.folder)

    def rows(self, path):
        with path.open(newline="") as file:
            return [{"n": int(row["n"])} for row in csv.DictReader(file)]


class TestMsgpack(_Suite):
    """Records behind their lengths."""

    def sink(self):
        return files.lines(self.folder, formats.msgpack())

    def rows(self, path):
        data, at, rows = path.read_bytes(), 0, []
        while at < len(data):
            (length,) = struct.unpack_from(">I", data, at)
            rows.append(msgspec.msgpack.decode(data[at + 4 : at + 4 + length]))
            at += 4 + length
        return rows


class TestParquet(_Suite):
    """A Parquet file for each checkpoint."""

    def sink(self):
        return files.parquet(self.folder)

    def rows(self, path):
        import pyarrow.parquet

        return pyarrow.parquet.ParquetFile(path).read().to_pylist()


class TestArrow(_Suite):
    """An Arrow file for each checkpoint."""

    def sink(self):
        return files.arrow(self.folder)

    def rows(self, path):
        import pyarrow.ipc

        with pyarrow.ipc.open_file(path.read_bytes()) as file:
            return file.read_all().to_pylist()


class TestAtLeastOnce(_Suite):
    """Lines appended to visible parts."""

    def sink(self):
        return files.lines(self.folder, delivery="at_least_once")


class TestAtLeastOnceParquet(_Suite):
    """Parquet files cannot grow in sight, so they are shown when the barrier comes."""

    def sink(self):
        return files.parquet(self.folder, delivery="at_least_once")

    rows = TestParquet.rows


async def _writer(sink, context=None, checkpoint_id=None, committables=()):
    context = context or ManualSinkContext()
    await sink.recover(context, checkpoint_id, list(committables))
    writer = sink.writer(context)
    await writer.open()
    return writer


async def _write(folder, values, checkpoint_id=1, context=None, batch=None, **options):
    sink = files.lines(folder, **options)
    context = context or ManualSinkContext()
    writer = await _writer(sink, context)
    await writer.write(batch or Batch(values))
    prepared = await writer.prepare_commit(checkpoint_id)
    await sink.commit(context, prepared)
    await writer.close()
    return prepared


async def test_names_say_subtask_checkpoint_and_number(tmp_path):
    """A part is named by what is in it, so a replay makes the same names."""
    context = ManualSinkContext(subtask=3)
    prepared = await _write(tmp_path, [{"n": 1}], checkpoint_id=12, context=context)
    assert _parts(tmp_path) == ["part-3-00000012-0.jsonl"]
    assert prepared[0] == {"staged": "a1-s3-1.part", "path": "part-3-00000012-0.jsonl", "bytes": 8, "records": 1}
    assert context.counts["bytes"] == 8


async def test_a_committable_without_its_part_is_refused(tmp_path):
    """Neither staged nor visible: somebody removed it, and the message says which and what to do."""
    prepared = await _write(tmp_path, [{"n": 1}])
    (tmp_path / "part-0-00000001-0.jsonl").unlink()
    with pytest.raises(SinkError, match=r"part-0-00000001-0\.jsonl: the part is neither there nor prepared") as caught:
        await files.lines(tmp_path).commit(ManualSinkContext(), prepared)
    assert not caught.value.retriable
    (tmp_path / "part-0-00000001-0.jsonl").touch()
    await files.lines(tmp_path).commit(ManualSinkContext(), prepared)


async def test_a_staged_part_of_another_size_is_refused(tmp_path):
    """Damage between prepare and commit is not shown to anyone."""
    sink = files.lines(tmp_path)
    writer = await _writer(sink)
    await writer.write(Batch([{"n": 1}]))
    (committable,) = await writer.prepare_commit(1)
    with (tmp_path / ".staged" / committable["staged"]).open("ab") as file:
        file.write(b"x")
    with pytest.raises(SinkError, match="9 bytes, but was prepared with 8"):
        await sink.commit(ManualSinkContext(), [committable])
    await writer.close()


async def test_parts_of_a_newer_checkpoint_are_set_aside_with_a_warning(tmp_path, caplog):
    """They are kept where no reader looks, for a person."""
    await _write(tmp_path, [{"n": 1}], checkpoint_id=5)
    with caplog.at_level(logging.WARNING):
        await files.lines(tmp_path).recover(ManualSinkContext(attempt=2, time_ms=77), 4, [])
    assert _parts(tmp_path) == []
    assert (tmp_path / ".staged/retracted-2-77/part-0-00000005-0.jsonl").exists()
    assert "1 parts moved" in caplog.text
    assert "checkpoint 4 is restored" in caplog.text


async def test_an_earlier_run_can_be_kept_or_refused(tmp_path):
    """What a start from nothing does with earlier output is a choice; a kept part is never overwritten."""
    await _write(tmp_path, [{"n": 1}])
    with pytest.raises(SinkError, match='existing="set_aside"'):
        await files.lines(tmp_path, existing="fail").recover(ManualSinkContext(), None, [])
    await _write(tmp_path, [{"n": 2}], existing="keep")
    assert _parts(tmp_path) == ["part-0-00000001-0.jsonl", "part-r1-0-00000001-0.jsonl"]
    await files.lines(tmp_path, existing="keep").recover(ManualSinkContext(attempt=2), 0, [])
    assert _parts(tmp_path) == ["part-0-00000001-0.jsonl"]


async def test_two_jobs_do_not_share_a_folder(tmp_path):
    """The second is told whose it is."""
    await _write(tmp_path, [{"n": 1}])
    with pytest.raises(SinkError, match=r"belongs to the sink 'sink' of the job 'job'.*owner\.json"):
        await files.lines(tmp_path).recover(ManualSinkContext(job="other"), None, [])
    (tmp_path / ".staged/owner.json").write_text("{")
    with pytest.raises(SinkError, match="not readable"):
        await files.lines(tmp_path).recover(ManualSinkContext(), None, [])


async def test_a_folder_is_handed_over_to_a_renamed_sink(tmp_path):
    """Once the user says that it was renamed; then it is the new name's, also without saying so again."""
    sink = files.lines(tmp_path, formats.json())
    await sink.recover(ManualSinkContext(operator_id="old"), None, [])
    with pytest.raises(SinkError, match="belongs to the sink 'old'"):
        await sink.recover(ManualSinkContext(operator_id="new", renamed_from="other"), 1, [])
    with pytest.raises(SinkError, match="belongs to the sink 'old'"):
        await sink.recover(ManualSinkContext(operator_id="new", renamed_from="old", job="another"), 1, [])
    for renamed_from in ("old", "old", None):
        await sink.recover(ManualSinkContext(operator_id="new", renamed_from=renamed_from), 1, [])
    with pytest.raises(SinkError, match="belongs to the sink 'new'"):
        await sink.recover(ManualSinkContext(operator_id="old"), 1, [])


async def test_files_of_others_are_left_alone(tmp_path):
    """Only this sink's parts are touched."""
    (tmp_path / "part-of-something.txt").write_text("x")
    await _write(tmp_path, [{"n": 1}])
    await files.lines(tmp_path).recover(ManualSinkContext(), None, [])
    assert _parts(tmp_path) == ["part-of-something.txt"]


@pytest.mark.parametrize(
    ("partition_by", "folders"),
    [
        ("key", ["key=a", "key=b%2Fc"]),
        ("n", ["n=1", "n=__none__"]),
        ("%Y-%m-%d/%H", ["1970-01-01/00", "1970-01-01/01"]),
        (lambda value: f"half/{value['n']}", ["half/1", "half/None"]),
    ],
)
async def test_records_go_to_their_partition_folder(tmp_path, partition_by, folders):
    """By key, by field, by event time, by a function."""
    batch = Batch([{"n": 1}, {"n": None}], timestamps=[0, 3_600_000], keys=["a", "b/c"])
    await _write(tmp_path, None, batch=batch, partition_by=partition_by)
    assert _parts(tmp_path) == [f"{folders[0]}/part-0-00000001-0.jsonl", f"{folders[1]}/part-0-00000001-1.jsonl"]
    assert _rows(tmp_path / folders[0] / "part-0-00000001-0.jsonl") == [{"n": 1}]


@pytest.mark.parametrize(
    ("partition_by", "message"),
    [
        ("key", "key_by"),
        ("%Y", "event_time="),
        ("missing", "no such field"),
        (lambda value: "../x", "partition_by gave"),
        (lambda value: "", "partition_by gave"),
        (lambda value: 5, "partition_by gave"),
    ],
)
async def test_a_partition_that_cannot_be_is_refused(tmp_path, partition_by, message):
    """Nothing is written outside the folder, and the message says what is missing."""
    with pytest.raises(SinkError, match=message):
        await _write(tmp_path, [{"n": 1}], partition_by=partition_by)


async def test_a_part_rolls_by_age(tmp_path):
    """A new part begins when the old one has its age."""
    context = ManualSinkContext()
    sink = files.lines(tmp_path, roll_interval="1s")
    writer = await _writer(sink, context)
    for time_ms in (0, 500, 1000, 1500):
        context.time_ms = time_ms
        await writer.write(Batch([{"t": time_ms}]))
    await sink.commit(context, await writer.prepare_commit(1))
    await writer.close()
    assert [len(_rows(tmp_path / name)) for name in _parts(tmp_path)] == [3, 1]


async def test_large_output_is_flushed_as_it_comes(tmp_path):
    """Memory holds at most about a megabyte of a part."""
    sink = files.lines(tmp_path, formats.text())
    writer = await _writer(sink)
    for _ in range(3):
        await writer.write(Batch(["x" * 1000] * 500))
    assert (tmp_path / ".staged/a1-s0-1.part").stat().st_size > 1_000_000
    await sink.commit(ManualSinkContext(), await writer.prepare_commit(1))
    assert (tmp_path / "part-0-00000001-0.txt").stat().st_size == 3 * 500 * 1001
    await writer.close()


async def test_an_at_least_once_part_grows_in_sight_and_a_new_attempt_begins_another(tmp_path):
    """A torn last line of a crashed attempt is never continued."""
    for attempt in (1, 1, 2):
        context = ManualSinkContext(attempt=attempt)
        sink = files.lines(tmp_path, delivery="at_least_once")
        writer = await _writer(sink, context)
        for checkpoint_id in (1, 2):
            await writer.write(Batch([{"n": checkpoint_id}]))
            assert await writer.prepare_commit(checkpoint_id) == []
        await writer.close()
        assert context.counts["bytes"] == 16
    assert _parts(tmp_path) == ["part-0-a1-0.jsonl", "part-0-a1-1.jsonl", "part-0-a2-0.jsonl"]
    assert [len(_rows(tmp_path / name)) for name in _parts(tmp_path)] == [2, 2, 2]


async def test_a_path_that_is_a_file_is_refused(tmp_path):
    """A sink writes a folder of parts."""
    path = tmp_path / "out.jsonl"
    path.write_text("")
    with pytest.raises(SinkError, match="is a file"):
        await files.lines(path).recover(ManualSinkContext(), None, [])


async def test_a_record_that_cannot_be_written_is_a_clear_error(tmp_path):
    """The message says why."""
    with pytest.raises(SinkError, match="a record cannot be written"):
        await _write(tmp_path, [object()])


class _FailingContext(ManualSinkContext):
    """A context whose blocking calls fail like a full or read-only disk."""

    async def blocking(self, function, *args):
        raise OSError(self.number, os.strerror(self.number), "/out/x")


@pytest.mark.parametrize(("number", "remedy", "retriable"), [(28, "make room", True), (30, "read-only", False)])
async def test_a_failing_disk_names_the_remedy(tmp_path, number, remedy, retriable):
    """A full disk may be mended while the job waits; a read-only one may not."""
    context = _FailingContext()
    context.number = number
    with pytest.raises(SinkError, match=remedy) as caught:
        await files.lines(tmp_path).commit(context, [{"staged": "a", "path": "b", "bytes": 1}])
    assert caught.value.retriable is retriable
    assert str(caught.value).startswith("/out/x: cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_read_only_folder_is_a_clear_error(tmp_path):
    """The message names the folder and the right that is missing."""
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="the right to write"):
        await files.lines(tmp_path / "out").recover(ManualSinkContext(), None, [])


class _Crash(BaseException):
    """The process ends here."""


class _CrashingOs:
    """`os`, until the nth call that changes or reads the disk; then the process ends, before the call or after it."""

    _COUNTED = frozenset(["replace", "rename", "unlink", "fsync", "makedirs", "stat", "listdir", "open"])

    def __init__(self, nth, after):
        self.left = nth
        self.after = after
        self.path = os.path

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in self._COUNTED:
            return function

        def call(*args, **kwargs):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise _Crash
            result = function(*args, **kwargs)
            if self.left == 0:
                if name == "open":
                    os.close(result)
                raise _Crash
            return result

        return call


async def _until_crash(crashing, monkeypatch, work):
    """Whether the work came to its end before the crash."""
    with monkeypatch.context() as patch:
        patch.setattr("tidegate.connectors.files.file_sink.os", crashing)
        try:
            await work
        except _Crash:
            return False
    return True


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_call_of_commit_or_recover_loses_and_doubles_nothing(tmp_path, monkeypatch, after):
    """Every call is tried in turn: commit crashes there, then recover crashes there, then recover runs."""
    for nth in range(1, 60):
        folder = tmp_path / f"{after}{nth}"
        sink = files.lines(folder, partition_by="n")
        writer = await _writer(sink)
        await writer.write(Batch([{"n": 1}, {"n": 2}]))
        first = await writer.prepare_commit(1)
        await sink.commit(ManualSinkContext(), first)
        await writer.write(Batch([{"n": 1}, {"n": 3}]))
        second = await writer.prepare_commit(2)
        await writer.write(Batch([{"n": 4}]))
        third = await writer.prepare_commit(3)
        await writer.close()
        done = await _until_crash(_CrashingOs(nth, after), monkeypatch, sink.commit(ManualSinkContext(), second))
        # Checkpoint 3 was committed too, but its manifest is damaged: checkpoint 2 is restored.
        await sink.commit(ManualSinkContext(), third)
        context = ManualSinkContext(attempt=2)
        done &= await _until_crash(_CrashingOs(nth, after), monkeypatch, sink.recover(context, 2, second))
        await sink.recover(ManualSinkContext(attempt=3), 2, second)
        got = sorted(row["n"] for name in _parts(folder) for row in _rows(folder / name))
        assert got == [1, 1, 2, 3], f"after a crash at call {nth}"
        assert not list((folder / ".staged").glob("*.part"))
        if done:
            break
    else:
        pytest.fail("there are more calls than were tried")
    assert nth > 10


class Typed(msgspec.Struct):
    n: int
    s: str | None = None


async def test_parquet_is_read_as_it_was_written(tmp_path):
    """Types, nulls and the schema of an all-null column survive."""
    import pyarrow.parquet

    sink = files.parquet(tmp_path, Typed)
    writer = await _writer(sink)
    await writer.write(Batch([Typed(1), Typed(2)]))
    await sink.commit(ManualSinkContext(), await writer.prepare_commit(1))
    await writer.write(Batch([Typed(3)] * 100_000))
    await writer.close()
    file = pyarrow.parquet.ParquetFile(tmp_path / "part-0-00000001-0.parquet")
    assert str(file.schema_arrow.field("s").type) == "string"
    assert sink.describe() == f"files.parquet('{tmp_path}', Typed)"


# ------------------------------------------------------------- what was written


async def _read(source):
    """All records of a bounded source."""
    context = ManualSourceContext()
    reader, values = source.reader(context), []
    try:
        for split in await source.discover(context, frozenset()):
            await reader.open(split, None)
            end = False
            while not end:
                fetch = await reader.read(split.id, 100)
                values += fetch.values
                end = fetch.end
    finally:
        await reader.close()
    return values


async def _checkpoints(sink, values):
    """Write a value for each checkpoint, from 1."""
    context = ManualSinkContext()
    writer = await _writer(sink, context)
    for checkpoint_id, value in enumerate(values, 1):
        await writer.write(Batch([value]))
        await sink.commit(context, await writer.prepare_commit(checkpoint_id))
    await writer.write(Batch([{"n": 99}]))
    await writer.prepare_commit(9)
    await writer.close()


@pytest.mark.parametrize("make", [files.lines, files.parquet])
async def test_what_was_written_is_read_by_checkpoint(tmp_path, make):
    """Behind one and up to another, in the sink's own format; what is only prepared is not there."""
    sink = make(tmp_path / "out")
    assert await _read(sink.written()) == []
    await _checkpoints(sink, [{"n": n} for n in range(1, 6)])
    assert await _read(sink.written(1, 3)) == [{"n": 2}, {"n": 3}]
    assert await _read(sink.written(4, None)) == [{"n": 5}]
    assert [row["n"] for row in await _read(sink.written())] == [1, 2, 3, 4, 5]


async def test_what_was_written_into_folders_is_read_too(tmp_path):
    """Of partitions."""
    sink = files.lines(tmp_path / "out", partition_by="n")
    await _checkpoints(sink, [{"n": n} for n in (3, 1, 2)])
    assert sorted(row["n"] for row in await _read(sink.written(1, 3))) == [1, 2]


async def test_parts_of_an_earlier_run_are_not_what_was_written(tmp_path):
    """A job that began anew beside them counts its checkpoints anew."""
    sink = files.lines(tmp_path / "out", existing="keep")
    await _checkpoints(sink, [{"n": 1}, {"n": 2}])
    await _checkpoints(sink, [{"n": 3}, {"n": 4}])
    assert await _read(sink.written(0, 1)) == [{"n": 3}]
    assert len(await _read(sink.written())) == 4


async def test_parts_at_least_once_do_not_tell_their_checkpoint(tmp_path):
    """All of them can be read, but not by checkpoint."""
    sink = files.lines(tmp_path / "out", delivery="at_least_once")
    await _checkpoints(sink, [{"n": 1}])
    assert {"n": 1} in await _read(sink.written())
    with pytest.raises(SinkError, match="do not tell which checkpoint"):
        await _read(sink.written(0, 1))
