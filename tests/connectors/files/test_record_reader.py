"""Reading files of records: offsets, ranges, compression, and everything that can be wrong with a file."""

import gzip
import random
import struct

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import SourceError, files, formats
from tidegate.engine.testing.connector_suites import SourceSuite
from tidegate.engine.testing.contexts import ManualSourceContext


class Row(msgspec.Struct):
    n: int
    s: str = ""


async def _read(source, limit=100, offsets=None):
    """All splits to their ends: values and rejected records, by split id."""
    context = ManualSourceContext()
    reader = source.reader(context)
    try:
        got = {}
        for split in await source.discover(context, frozenset()):
            await reader.open(split, None if offsets is None else offsets[split.id])
            values, rejected = [], []
            while True:
                fetch = await reader.read(split.id, limit)
                values += fetch.values
                rejected += fetch.rejected
                assert fetch.positions is None or len(fetch.positions) == len(fetch.values)
                if fetch.end:
                    break
            got[split.id] = values, rejected
        return got
    finally:
        await reader.close()


async def _one(source, limit=100):
    ((values, rejected),) = (await _read(source, limit)).values()
    return values, rejected


class _Suite(SourceSuite):
    limits = (1, 4, 1000)

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.path = tmp_path / "in"
        self.path.mkdir()
        self.write(self.path)


class TestJsonLines(_Suite):
    """A folder of JSON lines: with a byte order mark, blank lines, and no newline at the end."""

    def write(self, folder):
        (folder / "b").mkdir()
        (folder / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"n":1}\r\n\n{"n":2}\r\n{"n":3,"s":"x"}')
        (folder / "b" / "c.jsonl").write_bytes(b'{"n":4}\n{"n":5}\n')
        (folder / "empty.jsonl").write_bytes(b"")
        (folder / ".hidden").write_bytes(b"x")
        (folder / "_logs").write_bytes(b"x")

    def source(self):
        return files.lines(self.path, formats.json(Row))

    def expected(self):
        return {"a.jsonl": [Row(1), Row(2), Row(3, "x")], "b/c.jsonl": [Row(4), Row(5)], "empty.jsonl": []}


class TestGzip(_Suite):
    """Two gzip members behind each other are one file; offsets count decompressed bytes."""

    def write(self, folder):
        data = b"".join(b'{"n":%d}\n' % i for i in range(20))
        (folder / "a.gz").write_bytes(gzip.compress(data[:50]) + gzip.compress(data[50:]) + b"\0" * 16)

    def source(self):
        return files.lines(str(self.path / "*.gz"), formats.json(Row))

    def expected(self):
        return {"a.gz": [Row(i) for i in range(20)]}


class TestZstd(_Suite):
    """The same for zstd."""

    def write(self, folder):
        data = b"".join(b'{"n":%d}\n' % i for i in range(20))
        pack = zstandard.ZstdCompressor().compress
        (folder / "a.zst").write_bytes(pack(data[:50]) + pack(data[50:]))

    def source(self):
        return files.lines(self.path / "a.zst", formats.json(Row))

    def expected(self):
        return {"a.zst": [Row(i) for i in range(20)]}


class TestCsv(_Suite):
    """CSV with cells over several lines."""

    def write(self, folder):
        (folder / "a.csv").write_bytes(b'n,s\n1,a\n2,"b\nb"\n3,"""\n\n"\n4,d')

    def source(self):
        return files.csv(self.path, Row)

    def expected(self):
        return {"a.csv": [Row(1, "a"), Row(2, "b\nb"), Row(3, '"\n\n'), Row(4, "d")]}


class TestText(_Suite):
    """Lines of text in byte ranges; long lines reach over whole ranges."""

    def write(self, folder):
        (folder / "a.txt").write_text("".join(f"{i} {'x' * (i % 7) * 5}\n" for i in range(12)))

    def source(self):
        return files.text(self.path, split_size=20)

    def expected(self):
        data = (self.path / "a.txt").read_bytes()
        ids = {start: f"a.txt@{start}+{min(20, len(data) - start)}" for start in range(0, len(data), 20)}
        expected = {id: [] for id in ids.values()}
        at = 0
        for line in data.splitlines(keepends=True):
            expected[ids[at // 20 * 20]].append(line.decode().rstrip("\n"))
            at += len(line)
        return expected


class TestMsgpack(_Suite):
    """Records behind their lengths."""

    def write(self, folder):
        payloads = formats.msgpack().encode_messages([{"n": i} for i in range(9)])
        (folder / "a.msgpack").write_bytes(b"".join(struct.pack(">I", len(p)) + p for p in payloads))

    def source(self):
        return files.lines(self.path, formats.msgpack(Row))

    def expected(self):
        return {"a.msgpack": [Row(i) for i in range(9)]}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"a", b"", b"bb" * 9, b"\r", b"c" * 40, b"\xff"]), max_size=20),
    st.booleans(),
    st.integers(min_value=1, max_value=60),
    st.integers(min_value=1, max_value=5),
)
async def test_ranges_together_are_the_whole_file(tmp_path_factory, lines, newline, split_size, limit):
    """Every line is in exactly one range, whatever the size, and so is every bad line, with its true number."""
    path = tmp_path_factory.mktemp("ranges") / "a.txt"
    path.write_bytes(b"\n".join(lines) + (b"\n" if newline else b""))
    whole = await _one(files.text(path))
    ranges = (await _read(files.text(path, split_size=split_size), limit)).values()
    assert [value for values, _ in ranges for value in values] == whole[0]
    assert [bad.position for _, rejected in ranges for bad in rejected] == [bad.position for bad in whole[1]]


async def test_a_bad_record_says_line_and_byte(tmp_path):
    """The numbers are those an editor shows, also after a resume."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n":1}\n\n{"n":"x"}\n{"n":2}\nbad\n')
    values, rejected = await _one(files.lines(path, formats.json(Row)))
    assert values == [Row(1), Row(2)]
    assert [bad.position for bad in rejected] == ["line 3, byte 9", "line 5, byte 27"]
    ((_, rejected),) = (await _read(files.lines(path, formats.json(Row)), offsets={"a.jsonl": {"byte": 19}})).values()
    assert [bad.position for bad in rejected] == ["line 5, byte 27"]
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    ((_, rejected),) = (
        await _read(files.lines(packed, formats.json(Row)), offsets={"a.jsonl.gz": {"byte": 19}})
    ).values()
    assert [bad.position for bad in rejected] == ["line 5, byte 27"]


async def test_a_good_record_says_its_byte(tmp_path):
    """Positions lead to the record, past blank lines."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n\nb\n")
    source = files.text(path)
    context = ManualSourceContext()
    (split,) = await source.discover(context, frozenset())
    reader = source.reader(context)
    await reader.open(split, None)
    fetch = await reader.read(split.id, 10)
    assert list(fetch.positions) == ["byte 0", "byte 3"]
    assert list(fetch.positions[1:]) == ["byte 3"]
    assert reader.lag(split.id).n_bytes == 0
    await reader.close()


@pytest.mark.parametrize("limit", [1, 1000])
async def test_a_line_that_is_too_long_is_rejected_alone(tmp_path, limit):
    """Its neighbours are read, and its bytes are cut."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n" + b"x" * 5000 + b"\nb\n" + b"y" * 5000)
    values, rejected = await _one(files.text(path, max_line=1000), limit)
    assert values == ["a", "b"]
    assert [bad.position for bad in rejected] == ["line 2, byte 2", "line 4, byte 5005"]
    assert "longer than max_line=1000" in rejected[0].reason


@pytest.mark.slow
async def test_a_line_of_100_mb_is_rejected_in_bounded_memory(tmp_path):
    """However long a line is, only what one read brings is held."""
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.write(b'{"n":1}\n')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'\n{"n":2}\n')
    values, rejected = await _one(files.lines(path, formats.json(Row)))
    assert values == [Row(1), Row(2)]
    assert [(bad.position, len(bad.raw)) for bad in rejected] == [("line 2, byte 8", 65536)]


@pytest.mark.parametrize("fill", [3, 200_000])
@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)])
async def test_a_truncated_compressed_file_gives_all_before_the_damage(tmp_path, suffix, pack, fill):
    """Then it fails and names the file and the place, or ends there with a rejected record."""
    rng = random.Random(1)
    lines = [b'{"n":%d,"s":"%x"}\n' % (i, rng.getrandbits(80)) for i in range(fill // 30 + 3)]
    path = tmp_path / f"a.jsonl{suffix}"
    whole = pack(b"".join(lines[:-1])) + pack(lines[-1])
    path.write_bytes(whole[:-12])
    stop = files.lines(path, formats.json(Row), on_damage="stop")
    values, rejected = await _one(stop)
    assert [value.n for value in values] == list(range(len(lines) - 1))
    assert "cut off" in rejected[-1].reason
    with pytest.raises(SourceError, match=rf"{suffix}: cannot be read beyond byte \d+ of the decompressed data"):
        await _one(files.lines(path, formats.json(Row)))


async def test_damage_in_the_middle_of_a_compressed_file_gives_all_before_it(tmp_path):
    """Even what stands in the same piece as the damage."""
    path = tmp_path / "a.gz"
    data = b"".join(b"%d\n" % i for i in range(1000))
    path.write_bytes(gzip.compress(data) + b"this is no gzip member")
    values, rejected = await _one(files.text(path, on_damage="stop"))
    assert values == [str(i) for i in range(1000)]
    assert "damaged gzip data" in rejected[0].reason


async def test_a_damaged_length_ends_the_file(tmp_path):
    """Behind a length that cannot be right nothing can be found."""
    path = tmp_path / "a.msgpack"
    path.write_bytes(b"\0\0\0\1\x05" + b"\xff\xff\xff\xff")
    values, rejected = await _one(files.lines(path, formats.msgpack(int), on_damage="stop"))
    assert values == [5]
    assert "more than max_line" in rejected[0].reason
    path.write_bytes(b"\0\0\0\1\x05" + b"\0\0\0\2\1")
    values, rejected = await _one(files.lines(path, formats.msgpack(int)))
    assert (values, [bad.reason for bad in rejected]) == ([5], ["the file ends in the middle of a record"])


@pytest.mark.parametrize("suffix", ["", ".gz"])
async def test_a_file_that_shrank_below_the_offset_is_refused(tmp_path, suffix):
    """A resume does not read another file as if it were the same."""
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(gzip.compress(b"ab\n") if suffix else b"ab\n")
    with pytest.raises(SourceError, match="ends before byte 100"):
        await _read(files.text(path), offsets={path.name: {"byte": 100}})


async def test_a_file_that_is_gone_is_refused(tmp_path):
    """Deleted between the checkpoint and the resume, or before the read."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n")
    source = files.text(path)
    context = ManualSourceContext()
    (split,) = await source.discover(context, frozenset())
    path.unlink()
    with pytest.raises(SourceError, match="the file is gone"):
        await source.reader(context).open(split, {"byte": 2})
    with pytest.raises(SourceError, match="check the path"):
        await source.discover(context, frozenset())


async def test_a_header_that_does_not_fit_is_refused(tmp_path):
    """The message names the file and the column."""
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(SourceError, match=r"a\.csv: no column 'n'"):
        await _one(files.csv(path, Row))


async def test_ranges_of_a_csv_file_share_its_header(tmp_path):
    """Every range knows the columns."""
    path = tmp_path / "a.csv"
    path.write_text("s,n\n" + "".join(f"v{i},{i}\n" for i in range(50)))
    source = files.lines(path, formats.csv(Row, multiline=False), split_size=40)
    ranges = await _read(source, 3)
    assert [row.n for values, _ in ranges.values() for row in values] == list(range(50))
    assert len(ranges) > 5


async def test_a_file_with_known_ranges_keeps_them(tmp_path):
    """Ranges are filled in around the known ones, also when the file has grown since."""
    path = tmp_path / "a.txt"
    path.write_text("line\n" * 20)
    source = files.text(path, split_size=50)
    context = ManualSourceContext()
    first = await source.discover(context, frozenset())
    assert [split.id for split in first] == ["a.txt@0+50", "a.txt@50+50"]
    path.write_text("line\n" * 25)
    second = await source.discover(context, frozenset(["a.txt@50+50"]))
    assert [split.id for split in second] == ["a.txt@0+50", "a.txt@100+25"]


async def test_watch_finds_new_files_and_each_ends(tmp_path):
    """A folder may be empty at first."""
    source = files.text(tmp_path, watch=True)
    context = ManualSourceContext()
    assert not source.bounded
    assert await source.discover(context, frozenset()) == []
    (tmp_path / "b.txt").write_text("b\n")
    assert [split.id for split in await source.discover(context, frozenset())] == ["b.txt"]
    (tmp_path / "a.txt").write_text("a\n")
    assert [split.id for split in await source.discover(context, frozenset(["b.txt"]))] == ["a.txt"]
    assert await _read(source) == {"a.txt": (["a"], []), "b.txt": (["b"], [])}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split_size": "many"}, "split_size='many'"),
        ({"split_size": "1MB", "follow": True}, "not split"),
        ({"format": formats.csv(Row), "split_size": "1MB"}, "multiline=False"),
        ({"format": formats.arrow(Row)}, r"files\.arrow"),
        ({"compression": "lz4"}, "compression='lz4'"),
        ({"on_damage": "ignore"}, "on_damage"),
        ({"delivery": "never"}, "delivery"),
        ({"existing": "x"}, "existing"),
        ({"poll_interval": "soon"}, "not a duration"),
        ({"partition_by": "/"}, "partition_by"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    """At once, with the setting's name."""
    with pytest.raises(ValueError, match=message):
        files.lines("x", **options)


def test_an_unknown_option_is_refused():
    """A misspelled option is not ignored."""
    with pytest.raises(TypeError, match="folow"):
        files.lines("x", folow=True)


def test_descriptions_name_path_and_type():
    """What a plan shows."""
    assert files.lines("a.jsonl", formats.json(Row)).describe() == "files.lines('a.jsonl', json(Row))"
    assert files.csv("a.csv", Row).describe() == "files.csv('a.csv', Row)"
    assert files.text("a").describe() == "files.text('a')"


def test_a_format_with_a_schema_registry_is_refused():
    """Files have nobody who would fetch schemas; the message says what to leave out."""
    format = formats.avro(schema={"type": "string"}, registry=formats.SchemaRegistry("http://localhost:1"))
    with pytest.raises(ValueError, match=r"needs a schema registry.*leave registry= out"):
        files.lines("in.avro", format)


@pytest.mark.parametrize("limit", [1, 3, 31])
async def test_few_lines_are_given_to_who_asks_for_few(tmp_path, limit):
    """However long they are: a replay stops between any two."""
    path = tmp_path / "in.txt"
    path.write_text("".join(f"{n**3}\n" for n in range(200)))
    source, context = files.text(path), ManualSourceContext()
    reader = source.reader(context)
    (split,) = await source.discover(context, frozenset())
    await reader.open(split, None)
    sizes = [len((await reader.read(split.id, limit)).values) for _ in range(5)]
    await reader.close()
    assert sizes == [limit] * 5


async def test_a_record_of_several_lines_is_given_whole_to_who_asks_for_one(tmp_path):
    """CSV with line ends inside of quotes."""
    path = tmp_path / "in.csv"
    text = "x" + "\n" * 500
    path.write_text(f'a,b\n1,"{text}"\n2,"y"\n')
    values, rejected = await _one(files.csv(path), 1)
    assert [(row["a"], row["b"]) for row in values] == [("1", text), ("2", "y")]
    assert rejected == []


async def test_no_read_brings_a_few_left_over_lines(tmp_path):
    """Blocks are even: what is done once for a block is not done for three lines. Nothing is lost where buffers meet."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(b'{"n": %d, "s": "%s"}\n' % (n, b"x" * 150) for n in range(30_000)))
    source, context = files.lines(path, formats.json(Row)), ManualSourceContext()
    (split,) = await source.discover(context, frozenset())
    reader = source.reader(context)
    await reader.open(split, None)
    numbers, sizes, end = [], [], False
    while not end:
        fetch = await reader.read(split.id, 2048)
        numbers += [row.n for row in fetch.values]
        sizes.append(len(fetch.values))
        end = fetch.end
    await reader.close()
    assert numbers == list(range(30_000))
    assert min(sizes[:-2]) > max(sizes) // 2, sizes


async def test_a_line_longer_than_what_is_read_ahead_is_put_together(tmp_path):
    """Whatever stands before and behind it in the buffers."""
    rows = [b'{"n": %d, "s": "%s"}\n' % (n, b"x" * (2_500_000 if n % 7 == 3 else 10)) for n in range(15)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(rows))
    values, rejected = await _one(files.lines(path, formats.json(Row)))
    assert [(row.n, len(row.s)) for row in values] == [(n, 2_500_000 if n % 7 == 3 else 10) for n in range(15)]
    assert rejected == []


async def test_a_format_made_of_another_gets_bytes(tmp_path):
    """A view is for those who say that they take it; a subclass may do with the block what it likes."""

    class Counting(formats.JsonFormat):
        def decode_lines(self, block, final=True):
            assert type(block) is bytes
            return super().decode_lines(block, final)

    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n')
    values, rejected = await _one(files.lines(path, Counting(Row)))
    assert ([row.n for row in values], rejected) == ([1, 2], [])


async def test_a_long_line_in_the_middle_is_passed_over_without_being_held(tmp_path):
    """Also where it begins behind good lines that were read with it."""
    path = tmp_path / "rows.jsonl"
    good = b'{"n": 1}\n'
    path.write_bytes(good * 100 + b'{"n": 2, "s": "' + b"x" * 5_000_000 + b'"}\n' + good)
    values, rejected = await _one(files.lines(path, formats.json(Row), max_line="100KB"))
    assert [row.n for row in values] == [1] * 101
    assert [bad.reason for bad in rejected] == ["longer than max_line=100000"]
