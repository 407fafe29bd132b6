"""Files that grow: waiting lines, rotation, truncation, and resuming over all of it."""

import os

import pytest
from tidegate.connectors import SourceError, files, formats
from tidegate.engine.testing.contexts import ManualSourceContext


class Tail:
    """A followed file and what has been read from it."""

    def __init__(self, path, offset=None, source=None, **options):
        self.source = source or files.text(path, follow=True, **options)
        self.path = path
        self.offset = offset
        self.rejected = []
        self.reader = None

    async def open(self):
        context = ManualSourceContext()
        (split,) = await self.source.discover(context, frozenset())
        self.split = split
        self.reader = self.source.reader(context)
        await self.reader.open(split, self.offset)
        return self

    async def read(self):
        """What is there now: reads until nothing comes several times."""
        if self.reader is None:
            await self.open()
        values, empty = [], 0
        while empty < 4:
            fetch = await self.reader.read(self.split.id, 2)
            assert not fetch.end
            values += fetch.values
            self.rejected += fetch.rejected
            self.offset = fetch.offset
            empty = 0 if fetch.values else empty + 1
        return values

    async def again(self):
        """The same, after a restart."""
        await self.reader.close()
        self.reader = None
        return await self.read()


@pytest.fixture
async def tail(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("1\n2\n")
    tail = Tail(path)
    yield tail
    if tail.reader is not None:
        await tail.reader.close()


def _append(path, text):
    with path.open("a") as file:
        file.write(text)


async def test_what_is_appended_is_read(tail):
    """Again and again, without an end."""
    assert not tail.source.bounded
    assert await tail.read() == ["1", "2"]
    assert await tail.read() == []
    _append(tail.path, "3\n")
    assert await tail.read() == ["3"]


async def test_a_line_waits_for_its_end(tail):
    """Half a line is no record."""
    _append(tail.path, "thr")
    assert await tail.read() == ["1", "2"]
    _append(tail.path, "ee\n")
    assert await tail.read() == ["three"]


async def test_a_renamed_file_is_read_to_its_end_and_then_the_new_one(tail):
    """Rotation loses nothing, not even a last line without its end."""
    assert await tail.read() == ["1", "2"]
    _append(tail.path, "3\nlast")
    tail.path.rename(tail.path.with_name("app.log.1"))
    assert await tail.read() == ["3", "last"]
    tail.path.write_text("4\n")
    assert await tail.read() == ["4"]
    assert tail.rejected == []


async def test_a_truncated_file_is_reported_and_read_from_its_beginning(tail):
    """Copy and truncate: what was lost, if anything, is said."""
    assert await tail.read() == ["1", "2"]
    tail.path.write_text("3\n")
    assert await tail.read() == ["3"]
    assert [bad.position for bad in tail.rejected] == ["byte 4"]
    assert "the file was cut" in tail.rejected[0].reason


async def test_a_resume_goes_on_where_it_was(tail):
    """In the same file."""
    assert await tail.read() == ["1", "2"]
    _append(tail.path, "3\n")
    assert await tail.again() == ["3"]


async def test_a_resume_over_rotations_reads_the_renamed_files_in_order(tail):
    """Two rotations while the job was away."""
    assert await tail.read() == ["1", "2"]
    _append(tail.path, "3\n")
    older, newer = tail.path.with_name("app.log.2"), tail.path.with_name("app.log.1")
    tail.path.rename(older)
    newer.write_text("4\n5\n")
    tail.path.write_text("6\n")
    for age, path in enumerate([tail.path, newer, older]):
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    assert await tail.again() == ["3", "4", "5", "6"]


async def test_a_resume_without_its_file_is_refused(tail):
    """What is lost is not passed over in silence."""
    assert await tail.read() == ["1", "2"]
    tail.path.write_text("9\n")
    with pytest.raises(SourceError, match="no longer there, cut or rotated away"):
        await tail.again()


async def test_a_resume_without_its_file_goes_on_when_told_to(tail):
    """With on_damage="stop" the loss is a rejected record."""
    tail.source = files.text(tail.path, follow=True, on_damage="stop")
    assert await tail.read() == ["1", "2"]
    tail.path.write_text("9\n")
    assert await tail.again() == ["9"]
    assert ["lost" in bad.reason for bad in tail.rejected] == [True]


async def test_another_file_of_the_same_length_is_not_mistaken(tail):
    """The fingerprint tells them apart where an inode number may come again."""
    assert await tail.read() == ["1", "2"]
    tail.path.write_text("8\n9\n10\n")
    with pytest.raises(SourceError, match="no longer there"):
        await tail.again()


async def test_a_header_may_come_later(tmp_path):
    """A CSV file that is followed from its first byte on; a new file has its own header."""
    path = tmp_path / "a.csv"
    path.write_text("a,")
    tail = Tail(path, source=files.csv(path, follow=True))
    assert await tail.read() == []
    _append(path, "b\n1,2\n")
    assert await tail.read() == [{"a": "1", "b": "2"}]
    path.rename(tmp_path / "a.csv.1")
    path.write_text("b,a\n4,3\n")
    assert await tail.read() == [{"a": "3", "b": "4"}]
    await tail.reader.close()


async def test_a_file_may_come_later(tmp_path):
    """New files are found, and a folder may be empty at first."""
    source = files.lines(tmp_path, formats.json(), follow=True)
    context = ManualSourceContext()
    assert await source.discover(context, frozenset()) == []
    (tmp_path / "a").write_text("1\n")
    assert [split.id for split in await source.discover(context, frozenset())] == ["a"]


async def test_a_long_line_does_not_hide_a_rotation(tmp_path):
    """When the file is renamed, the line has its end."""
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 5000)
    tail = Tail(path, max_line=1000)
    assert await tail.read() == []
    path.rename(tmp_path / "a.log.1")
    path.write_text("ok\n")
    assert await tail.read() == ["ok"]
    assert ["longer than" in bad.reason for bad in tail.rejected] == [True]
    await tail.reader.close()


async def test_a_long_line_is_rejected_when_its_end_comes(tmp_path):
    """A line that grows beyond the limit is refused, and reading goes on behind it."""
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 5000)
    tail = Tail(path, max_line=1000)
    assert await tail.read() == []
    _append(path, "x\nok\n")
    assert await tail.read() == ["ok"]
    assert [bad.position for bad in tail.rejected] == ["line 1, byte 0"]
    await tail.reader.close()
