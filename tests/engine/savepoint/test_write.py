"""From snapshots to portable files, and what a stranger's program reads in them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, start
from tidegate.engine.errors import StateError
from tidegate.engine.savepoint.write import write_portable
from tidegate.engine.state import DictBackend, RocksDBBackend, SnapshotFiles, StateBackend
from tidegate.engine.testing import Pause, ScriptedSource
from tidegate.engine.testing.state_cases import EVERYTHING, KEYED, LOCAL, RULES
from tidegate.engine.testing.state_cluster import MAX_PARALLELISM, StateCluster
from tidegate.operators import agg

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "savepoint-format.md"


@pytest.mark.parametrize("backend", [DictBackend(), RocksDBBackend(1 << 20, 1 << 20)], ids=lambda b: b.name)
def test_a_snapshot_is_written_with_all_its_states(backend: StateBackend, tmp_path: Path) -> None:
    """The description stays, but for what wrote it; the snapshot is left as it is."""
    cluster = StateCluster(backend, tmp_path, EVERYTHING, uses_timers=True)
    for key in range(30):
        cluster.bind(KEYED, key).put(key, [key])
    cluster.all(LOCAL)[0].items = ["a", "b", "c"]
    cluster.all(RULES)[0].entries["a"] = 1
    ((snapshot, folder),) = cluster.snapshot()
    before = sorted(path.name for path in folder.iterdir())
    files = write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / "portable", MAX_PARALLELISM)
    assert files.snapshot.backend == "portable"
    assert files.snapshot.schemas == snapshot.schemas
    assert files.snapshot.details["files"] == {
        "totals": 1,
        "in_flight": 1,
        "rules": 1,
        **dict.fromkeys(
            ["windows", "point", "names", "counts", "notes", "sum", "timers.event", "timers.processing"], 0
        ),
    }
    assert sorted(files.files) == sorted(path.name for path in files.directory.iterdir())
    assert {path.name for path in folder.iterdir()} - set(before) <= {"LOG", "LOCK"}
    cluster.restore([(files.snapshot, files.directory)], 2)
    assert sorted(key for table in cluster.all(KEYED) for key, _ in table.items()) == list(range(30))
    assert [table.entries for table in cluster.all(RULES)] == [{"a": 1}, {"a": 1}]
    cluster.close()


def test_the_same_state_gives_the_same_bytes_from_every_backend(tmp_path: Path) -> None:
    """Which is why equal parts of savepoints are stored once."""
    contents = []
    for backend in (DictBackend(), RocksDBBackend(1 << 20, 1 << 20)):
        cluster = StateCluster(backend, tmp_path / backend.name, [KEYED])
        for key in range(100):
            cluster.bind(KEYED, key).put(key, [key])
        ((snapshot, folder),) = cluster.snapshot()
        files = write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / f"{backend.name}-p", MAX_PARALLELISM)
        contents.append([(files.directory / name).read_bytes() for name in files.files])
        cluster.close()
    assert contents[0] == contents[1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With the remedy."""
    cluster = StateCluster(DictBackend(), tmp_path, [KEYED])
    ((snapshot, folder),) = cluster.snapshot()
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"savepoint of operator 'operator' cannot be written to .*file"):
        write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / "file" / "portable", MAX_PARALLELISM)


def test_writing_ends_when_nobody_wants_it_any_more(tmp_path: Path) -> None:
    """A job that is cancelled does not wait for a large savepoint."""
    cluster = StateCluster(DictBackend(), tmp_path, [KEYED])
    for key in range(20_000):
        cluster.bind(KEYED, key).put(key, [key])
    ((snapshot, folder),) = cluster.snapshot()
    asked = []

    def given_up() -> bool:
        asked.append(True)
        return len(asked) == 3

    with pytest.raises(StateError, match="given up while it was written"):
        write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / "portable", MAX_PARALLELISM, given_up)
    assert len(asked) == 3


def _reader_of_the_reference() -> Callable[[Path, str], Any]:
    """The program that the reference shows to strangers."""
    (text,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert "tidegate." not in text.replace("tidegate-state", "")
    names: dict[str, Any] = {}
    exec(text, names)
    return names["entries"]


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_a_stranger_can_read_it(backend: str, tmp_path: Path) -> None:
    """With the standard library and msgpack alone, by the program in the reference."""

    class Visit(msgspec.Struct):
        page: str
        at: int

    visits = [Visit("/a", 1_000), Visit("/b", 61_000), Visit("/a", 62_000)]
    source = ScriptedSource([*visits, Pause()])
    topology = Topology("visits")
    stream = topology.source("visits", source, event_time="at").key_by("page", name="by-page", key_type=str)
    stream.aggregate(name="count", n=agg.count(), last=agg.max("at")).sink("counts", memory.sink())
    config = RunConfig(checkpoints=tmp_path, checkpoint_interval="1h", state_backend=backend, parallelism=2)  # type: ignore[arg-type]  # one of the two
    async with start(topology, config) as job:
        while not source.at_pause:
            await job.clock.sleep(0)
        await job.savepoint("deploy")
        await job.cancel()
    rows = list(_reader_of_the_reference()(tmp_path / "visits", "deploy"))
    assert {(operator, state) for operator, state, _ in rows} == {("count", "totals")}
    found = {entry["key"]: entry["value"] for _, _, entry in rows}
    assert set(found) == {"/a", "/b"}
    assert 62_000 in found["/a"].values() if isinstance(found["/a"], dict) else 62_000 in found["/a"]


def test_a_block_is_what_the_reference_says(tmp_path: Path) -> None:
    """Byte by byte, without the engine's reader."""
    cluster = StateCluster(DictBackend(), tmp_path, [KEYED])
    cluster.bind(KEYED, "a").put("a", [1])
    ((snapshot, folder),) = cluster.snapshot()
    files = write_portable(SnapshotFiles(snapshot, folder, (), {}), tmp_path / "portable", MAX_PARALLELISM)
    _, _, blocks = (files.directory / "000-000000.tgstate").read_bytes().partition(b"\n")
    assert blocks[:1] == b"\xc6"
    assert int.from_bytes(blocks[1:5], "big") == len(blocks) - 5
    assert msgpack.unpackb(zlib.decompress(blocks[5:])) == [["a", [1]]]
    cluster.close()
