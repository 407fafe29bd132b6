"""What RocksDB reports becomes an error that names the path and the remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state.database import Column, Database, Memory, explained

HOLDER = """
import sys
from pathlib import Path
from tidegate.engine.state.database import Database, Memory
database = Database(Memory(1 << 20, 1 << 20), Path(sys.argv[1]), [])
print("open", flush=True)
sys.stdin.read()
database.close()
"""


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory(1 << 20, 1 << 20)


@pytest.mark.slow
def test_a_database_held_by_another_process_is_refused(memory: Memory, tmp_path: Path) -> None:
    """Until that process ends; then it opens."""
    path = tmp_path / "db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StateError, match="another process holds it") as caught:
            Database(memory, path, [])
        assert str(path) in str(caught.value)
        holder.communicate()
    Database(memory, path, []).close()


def test_a_path_that_is_a_file_is_refused(memory: Memory, tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "db").write_text("")
    with pytest.raises(StateError, match="db"):
        Database(memory, tmp_path / "db", [])


def test_a_damaged_manifest_is_refused(memory: Memory, tmp_path: Path) -> None:
    """The remedy is to restore a checkpoint."""
    column = Column("c")
    Database(memory, tmp_path, [column]).close()
    for path in tmp_path.glob("MANIFEST-*"):
        path.write_bytes(b"\x00" * 100)
    with pytest.raises(StateError, match="restore a checkpoint"):
        Database(memory, tmp_path, [Column("c")])


def test_a_batch_is_written_and_scanned_in_order(memory: Memory, tmp_path: Path) -> None:
    """The upper bound is not included; the first key is the smallest."""
    column = Column("c")
    database = Database(memory, tmp_path, [column])
    assert column.first() is None
    batch = database.batch()
    for key in (b"c", b"a", b"b"):
        batch.put(key, key * 2, column.handle)
    database.write(batch)
    assert list(column.scan(b"a", b"c")) == [(b"a", b"aa"), (b"b", b"bb")]
    assert column.first() == b"a"
    assert column.get(b"c") == b"cc"
    assert column.get(b"d") is None
    database.close()


def test_a_closed_database_says_so(memory: Memory, tmp_path: Path) -> None:
    """A late read is an error, not a crash."""
    column = Column("c")
    database = Database(memory, tmp_path, [column])
    database.close()
    with pytest.raises(StateError):
        column.get(b"a")


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("IO error: No space left on device", "free some space"),
        ("IO error: Permission denied", "make the directory writable"),
        ("Corruption: block checksum mismatch", "restore a checkpoint"),
        ("IO error: While lock file", "another process holds it"),
        ("something else", "restore a checkpoint"),
    ],
)
def test_every_reason_has_a_remedy(reason: str, remedy: str, tmp_path: Path) -> None:
    """Named after the path and what RocksDB said."""
    with pytest.raises(StateError, match=remedy) as caught, explained(tmp_path):
        raise RuntimeError(reason)
    assert reason in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_full_disk_is_found_before_the_database_is_touched(tmp_path: Path) -> None:
    """The flush fails, the database goes on, and the next flush succeeds when there is space again."""
    free = [1000, 1 << 40]
    memory = Memory(1 << 20, 1 << 20, free_bytes=lambda path: free.pop(0))
    column = Column("c")
    database = Database(memory, tmp_path, [column])
    for key in (b"a", b"b"):
        batch = database.batch()
        batch.put(key, key, column.handle)
        database.write(batch)
        if key == b"a":
            with pytest.raises(StateError, match="1000 are free"):
                database.flush()
    database.flush()
    assert column.file_bytes > 0
    assert column.get(b"a") == b"a"
    database.close()
