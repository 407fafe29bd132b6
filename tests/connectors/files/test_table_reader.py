"""Reading Parquet and Arrow files."""

import msgspec
import pytest
from tidegate.connectors import SourceError, files
from tidegate.engine.testing.connector_suites import SourceSuite
from tidegate.engine.testing.contexts import ManualSourceContext

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


class Row(msgspec.Struct):
    n: int


def _table(n):
    return pyarrow.table({"other": ["x"] * n, "n": list(range(n))})


class TestParquet(SourceSuite):
    """Several row groups, and a file without rows."""

    limits = (1, 4, 1000)

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        parquet.write_table(_table(10), tmp_path / "a.parquet", row_group_size=3)
        parquet.write_table(_table(0), tmp_path / "b.parquet")

    def source(self):
        return files.parquet(self.folder, Row)

    def expected(self):
        return {"a.parquet": [Row(i) for i in range(10)], "b.parquet": []}


class TestArrow(SourceSuite):
    """Files and streams."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path
        table = _table(10)
        for name, new in (("a.arrow", pyarrow.ipc.new_file), ("b.arrows", pyarrow.ipc.new_stream)):
            with new(str(tmp_path / name), table.schema) as writer:
                writer.write_table(table, max_chunksize=3)

    def source(self):
        return files.arrow(self.folder, Row)

    def expected(self):
        return {name: [Row(i) for i in range(10)] for name in ("a.arrow", "b.arrows")}


async def _open(path, offset=None, type=Row):
    source = files.parquet(path, type)
    context = ManualSourceContext()
    (split,) = await source.discover(context, frozenset())
    reader = source.reader(context)
    await reader.open(split, offset)
    return reader, split.id


async def test_a_bad_row_leaves_its_neighbours(tmp_path):
    """It is reported by its row in the file."""
    parquet.write_table(pyarrow.table({"n": [1, None, 3]}), tmp_path / "a.parquet")
    reader, split_id = await _open(tmp_path / "a.parquet")
    fetch = await reader.read(split_id, 10)
    assert (fetch.values, list(fetch.positions)) == ([Row(1), Row(3)], [0, 2])
    assert [bad.position for bad in fetch.rejected] == ["row 1"]
    assert reader.lag(split_id).records == 0
    await reader.close()


async def test_a_file_of_another_kind_is_refused(tmp_path):
    """The message names the file."""
    (tmp_path / "a.parquet").write_text("no")
    with pytest.raises(SourceError, match=r"a\.parquet: no readable parquet file"):
        await _open(tmp_path / "a.parquet")


async def test_a_file_without_the_column_is_refused(tmp_path):
    """The message names the column."""
    parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="no column 'n'"):
        await _open(tmp_path / "a.parquet")


async def test_a_file_with_fewer_rows_than_the_offset_is_refused(tmp_path):
    """It was replaced since the checkpoint."""
    parquet.write_table(_table(3), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="has 3 rows"):
        await _open(tmp_path / "a.parquet", {"row": 7})
