"""One RocksDB database: opening it, its column families, and what its errors mean to people.

Everything about rocksdict is here and in the files that write and read columns through it. Raw mode: keys and values
are bytes. The write-ahead log is off: the checkpoint is the log.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import StateError

_SPARE_BYTES = 16 << 20
_TARGET_FILE_BYTES = 32 << 20
_WRITE_BUFFER_BYTES = 4 << 20
"""Small enough for the caches of a processor: searching in one takes half as long as in one of 32 MB."""
_WRITE_BUFFERS = 16
_FILTER_SHARE = 0.05
_SORTED_RUNS = 12
"""So many files, or runs of files, are put together: with fewer more is written, with more a read has more to look at."""
_SPARE_PERCENT = 50
"""So much of the database may be void, as a share of what is not, before all of it is written anew."""
_MANIFEST_BYTES = 1 << 20


def free_disk_bytes(path: Path) -> int:
    """How much space is left where a path is."""
    return shutil.disk_usage(path).free


class Memory:
    """What the databases of one backend share: the block cache and the bound on write buffers.

    Args:
        block_cache_bytes: for blocks read from disk.
        write_buffer_bytes: for what is written and not yet flushed, all databases together.
        free_bytes: says how much space is left where a path is.
    """

    def __init__(
        self,
        block_cache_bytes: int,
        write_buffer_bytes: int,
        free_bytes: Callable[[Path], int] = free_disk_bytes,
    ) -> None:
        import rocksdict

        self.free_bytes = free_bytes
        self.rocksdict = rocksdict
        self._cache = rocksdict.Cache(block_cache_bytes)
        self._buffers = rocksdict.WriteBufferManager(write_buffer_bytes, False)
        self.write_buffer_bytes = write_buffer_bytes

    def options(self) -> Any:
        """Options for a database or column family."""
        options = self.rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        blocks = self.rocksdict.BlockBasedOptions()
        blocks.set_block_cache(self._cache)
        blocks.set_bloom_filter(10, False)
        options.set_block_based_table_factory(blocks)
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(min(_WRITE_BUFFER_BYTES, self.write_buffer_bytes // 2))
        # A write must not wait for a flush or a compaction: it would hold everything up.
        options.set_max_write_buffer_number(_WRITE_BUFFERS)
        options.set_level_zero_slowdown_writes_trigger(4 * _SORTED_RUNS)
        options.set_level_zero_stop_writes_trigger(8 * _SORTED_RUNS)
        # A key that is read is seldom one that was written last: a filter says so for less than a search.
        options.set_memtable_whole_key_filtering(True)
        options.set_memtable_prefix_bloom_ratio(_FILTER_SHARE)
        options.set_allow_concurrent_memtable_write(False)
        options.set_target_file_size_base(_TARGET_FILE_BYTES)
        # Levels would rewrite what has not changed for the sake of what has, and every file anew is one to upload.
        options.set_compaction_style(self.rocksdict.DBCompactionStyle.universal())
        options.set_universal_compaction_options(self._universal())
        options.set_level_zero_file_num_compaction_trigger(_SORTED_RUNS)
        # It grows with every file made and deleted, and every snapshot has it whole.
        options.set_max_manifest_file_size(_MANIFEST_BYTES)
        options.set_compression_type(self.rocksdict.DBCompressionType.lz4())
        options.set_max_open_files(512)
        options.set_keep_log_file_num(1)
        options.set_stats_dump_period_sec(0)
        options.set_stats_persist_period_sec(0)
        return options

    def _universal(self) -> Any:
        universal = self.rocksdict.UniversalCompactOptions()
        universal.max_size_amplification_percent = _SPARE_PERCENT
        return universal


class Database:
    """An open database with the columns asked for, made where they are not there.

    Args:
        memory: what it shares with other databases.
        path: its directory; made when it is not there.
        columns: attached to their column families. Read only, one that is not there stays detached.
        read_only: take no lock and change nothing.

    Raises:
        StateError: it cannot be opened; names the path, the reason and the remedy.
    """

    def __init__(self, memory: Memory, path: Path, columns: Sequence[Column], *, read_only: bool = False) -> None:
        rocksdict = memory.rocksdict
        self.path = path
        self.memory = memory
        self._columns = [*columns]
        with explained(path):
            if not read_only:
                path.mkdir(parents=True, exist_ok=True)
            present = rocksdict.Rdict.list_cf(str(path), memory.options()) if (path / "CURRENT").exists() else []
            known = {name: memory.options() for name in present if name != "default"}
            access = rocksdict.AccessType.read_only(False) if read_only else rocksdict.AccessType.read_write()
            self._db = rocksdict.Rdict(str(path), memory.options(), column_families=known, access_type=access)
            self._without_log = rocksdict.WriteOptions()
            self._without_log.disable_wal = True
            for column in columns:
                if column.name in known:
                    column.attach(self, self._db.get_column_family(column.name))
                elif not read_only:
                    column.attach(self, self._db.create_column_family(column.name, memory.options()))

    def handle(self, name: str) -> Any:
        """What a write batch takes for a column."""
        return self._db.get_column_family_handle(name)

    def batch(self) -> Any:
        """An empty write batch."""
        return self.memory.rocksdict.WriteBatch(raw_mode=True)

    def write(self, batch: Any) -> None:
        """Write a batch, all of it or nothing."""
        with explained(self.path):
            self._db.write(batch, self._without_log)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be flushed that more should not come for now."""
        waiting = sum([column.unflushed_bytes for column in self._columns])
        return waiting > min(self.memory.write_buffer_bytes, _WRITE_BUFFER_BYTES * _WRITE_BUFFERS) // 2

    def flush(self) -> None:
        """Write what is in memory to files. Blocking, without holding the interpreter.

        Raises:
            StateError: the disk is full; found before the database is touched, so that it goes on working.
        """
        with explained(self.path):
            self.check_space(sum([column.unflushed_bytes for column in self._columns]))
            for column in self._columns:
                column.flush()

    def check_space(self, needed_bytes: int) -> None:
        """Whether the disk takes so much, and a little more. Cheap.

        Raises:
            StateError: it is full. A database that finds out for itself takes nothing any more.
        """
        needed_bytes += _SPARE_BYTES
        free = self.memory.free_bytes(self.path)
        if free < needed_bytes:
            raise StateError(
                f"{self.path}: no space left on the disk: {needed_bytes} bytes are needed and {free} are free; free some, "
                "or put the working directory elsewhere"
            )

    def checkpoint(self, directory: Path) -> None:
        """Hard links of all files into a directory that does not exist."""
        with explained(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            self.memory.rocksdict.Checkpoint(self._db).create_checkpoint(str(directory))

    def close(self) -> None:
        """Give back files and the lock."""
        for column in self._columns:
            column.close()
        self._db.close()


class Column:
    """A column family. Detached, and not to be used, until a database that holds it is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attached = False

    def attach(self, database: Database, family: Any) -> None:
        """The database is open."""
        self._database = database
        self._family = family
        self._rocksdict = database.memory.rocksdict
        self.handle: Any = database.handle(self.name)
        self.attached = True

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        try:
            value: bytes | None = self._family.get(key)
        except Exception as error:
            raise _explain(self._database.path, error) from error
        return value

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of many keys, None for those that are not there: cheaper than one by one."""
        try:
            values: list[bytes | None] = self._family[keys]
        except Exception as error:
            raise _explain(self._database.path, error) from error
        return values

    def scan(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The entries from `start` up to, not including, `stop`, in order of key."""
        options = self._rocksdict.ReadOptions()
        options.set_iterate_upper_bound(stop)
        with explained(self._database.path):
            last = start
            for entry in self._family.items(from_key=start, read_opt=options):
                yield entry
                last = entry[0]
            # That iterator ends without a word at a damaged block; this one says why it cannot go on.
            check = self._family.iter(options)
            check.seek(last)
            if check.valid():
                check.next()
            check.status()

    def first(self) -> bytes | None:
        """The first key, or None when there is none."""
        with explained(self._database.path):
            entries = self._family.iter()
            entries.seek_to_first()
            entries.status()
            key: bytes | None = entries.key() if entries.valid() else None
            return key

    def ingest(self, paths: Sequence[Path]) -> None:
        """Take in files that `sst_writer` wrote; they are moved."""
        options = self._rocksdict.IngestExternalFileOptions()
        options.set_move_files(True)
        with explained(self._database.path):
            self._family.ingest_external_file([str(path) for path in paths], options)

    def sst_writer(self, path: Path) -> Any:
        """A writer of a file of ascending keys."""
        writer = self._rocksdict.SstFileWriter(self._database.memory.options())
        with explained(path):
            writer.open(str(path))
        return writer

    @property
    def estimated_keys(self) -> int:
        """About how many keys there are; cheap."""
        return int(self._family.property_int_value("rocksdb.estimate-num-keys") or 0)

    @property
    def unflushed_bytes(self) -> int:
        """Size of what is in memory only."""
        return int(self._family.property_int_value("rocksdb.cur-size-all-mem-tables") or 0)

    @property
    def file_bytes(self) -> int:
        """Size of the files."""
        return int(self._family.property_int_value("rocksdb.total-sst-files-size") or 0)

    def flush(self) -> None:
        """Write what is in memory to a file."""
        self._family.flush()

    def close(self) -> None:
        """Give back the column family."""
        if self.attached:
            self._family.close()
            # The handle holds the database, and with it the lock, for as long as it lives.
            self.handle = None
            self.attached = False


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn whatever the database raises into a StateError that names the path and the remedy."""
    try:
        yield
    except StateError:
        raise
    except Exception as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: Exception) -> StateError:
    text = " ".join(str(error).split())
    lower = text.lower()
    if "lock file" in lower or "lock hold" in lower:
        remedy = "another process holds it: stop that process, or use another working directory"
    elif "no space" in lower:
        remedy = "the disk is full: free some space, or put the working directory elsewhere"
    elif "permission denied" in lower or "read-only" in lower:
        remedy = "make the directory writable, or put the working directory elsewhere"
    elif "corruption" in lower or "no such file" in lower or "checksum" in lower:
        remedy = "files are damaged or missing: restore a checkpoint"
    else:
        remedy = "restore a checkpoint"
    return StateError(f"state at {path} cannot be used: {text}; {remedy}")
