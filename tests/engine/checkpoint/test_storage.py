"""Where checkpoints are kept."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore
from tidegate.engine.checkpoint.blobs import Blobs
from tidegate.engine.checkpoint.listing import manifest_path
from tidegate.engine.checkpoint.manifest import Manifest, encode
from tidegate.engine.checkpoint.retention import apply_retention, sweep
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.errors import CheckpointError, ConfigError, CorruptionError, FencedError
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.state.backend import SnapshotFiles
from tidegate.engine.testing import ManualClock

MakeManifest = Callable[..., Manifest]
OpenStorage = Callable[..., CheckpointStorage]
MakeSnapshot = Callable[..., SnapshotFiles]


@pytest.fixture(params=["local", "memory", "threads", "s3"])
def storage(request: pytest.FixtureRequest, open_storage: OpenStorage) -> CheckpointStorage:
    """A storage on each kind of root, and one whose work really runs at the same time."""
    if request.param == "s3":
        return open_storage(
            request.getfixturevalue("s3_url"), settings=request.getfixturevalue("s3_settings"), threads=4
        )
    if request.param == "memory":
        return open_storage("memory://")
    return open_storage(threads=4 if request.param == "threads" else 0)


def content_path(storage: CheckpointStorage, sha256: str) -> Path:
    return Path(storage.address) / "files" / sha256[:2] / sha256


# Storing and fetching


async def test_what_is_stored_can_be_fetched(
    storage: CheckpointStorage, make_snapshot: MakeSnapshot, tmp_path: Path
) -> None:
    """Byte for byte, under the same names, folders too."""
    contents = {"CURRENT": b"16", "000012.sst": bytes(range(256)) * 5000, "sub/empty": b""}
    entries = await storage.store_files(make_snapshot(contents), {})
    assert [entry.name for entry in entries] == list(contents)
    assert [entry.sha256 for entry in entries] == [hashlib.sha256(c).hexdigest() for c in contents.values()]
    assert [entry.size for entry in entries] == [len(content) for content in contents.values()]
    await storage.fetch_files(1, entries, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in contents} == contents


async def test_the_same_content_is_stored_once(open_storage: OpenStorage, make_snapshot: MakeSnapshot) -> None:
    """Under two names and in two snapshots."""
    storage = open_storage()
    await storage.store_files(make_snapshot({"a": b"same", "b": b"same"}), {})
    await storage.store_files(make_snapshot({"c": b"same"}), {})
    stored = [path for path in (Path(storage.address) / "files").rglob("*") if path.is_file()]
    assert [path.name for path in stored] == [hashlib.sha256(b"same").hexdigest()]


async def test_an_immutable_file_is_read_once(open_storage: OpenStorage, make_snapshot: MakeSnapshot) -> None:
    """The second snapshot's file is never opened: its identity is known. Identities that are gone are
    forgotten."""
    storage = open_storage()
    known: dict[str, str] = {}
    first = await storage.store_files(make_snapshot({"1.sst": b"one", "x": b"x"}, immutable=["1.sst"]), known)
    assert known == {"id-1.sst": first[0].sha256}
    second = await storage.store_files(make_snapshot({"1.sst": b"TWO"}, immutable=["1.sst"]), known)
    assert second[0].sha256 == first[0].sha256
    await storage.store_files(make_snapshot({"2.sst": b"two"}, immutable=["2.sst"]), known)
    assert list(known) == ["id-2.sst"]


async def test_a_snapshot_file_that_is_missing_is_named(open_storage: OpenStorage, make_snapshot: MakeSnapshot) -> None:
    """And nothing of the snapshot stays pinned."""
    storage = open_storage()
    snapshot = make_snapshot({"a": b"a", "b": b"b"})
    (snapshot.directory / "b").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*/b for the checkpoint: No such file"):
        await storage.store_files(snapshot, {})
    assert storage.pinned == frozenset()


async def test_a_content_found_damaged_is_stored_again(
    open_storage: OpenStorage, make_snapshot: MakeSnapshot, tmp_path: Path
) -> None:
    """It is not trusted because something lies under its name: a restart after the damage heals it."""
    storage = open_storage()
    (entry,) = await storage.store_files(make_snapshot({"a": b"content"}), {})
    path = content_path(storage, entry.sha256)
    path.unlink()
    path.write_bytes(b"CONTENT")
    with pytest.raises(CorruptionError):
        await storage.fetch_files(1, [entry], tmp_path / "out")
    await storage.store_files(make_snapshot({"a": b"content"}), {})
    assert path.read_bytes() == b"content"


async def test_contents_left_by_another_process_are_not_trusted(
    open_storage: OpenStorage, make_snapshot: MakeSnapshot
) -> None:
    """A new start writes what it has not itself written or verified."""
    (entry,) = await open_storage().store_files(make_snapshot({"a": b"content"}), {})
    storage = open_storage()
    path = content_path(storage, entry.sha256)
    path.unlink()
    path.write_bytes(b"damaged")
    await storage.store_files(make_snapshot({"a": b"content"}), {})
    assert path.read_bytes() == b"content"


async def test_every_damaged_byte_of_a_content_is_found(
    open_storage: OpenStorage, make_manifest: MakeManifest, make_snapshot: MakeSnapshot, tmp_path: Path
) -> None:
    """By verify and by fetch, which names the file and leaves no damaged copy."""
    storage = open_storage()
    content = b"twenty bytes of data"
    entries = await storage.store_files(make_snapshot({"000012.sst": content}), {})
    await storage.write_manifest(make_manifest(7, entries))
    path = content_path(storage, entries[0].sha256)
    damages = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(len(content))]
    damages += [content[:i] for i in range(len(content))] + [content + b"!"]
    for damage in damages:
        path.unlink()
        path.write_bytes(damage)
        (problem,) = await storage.verify(7)
        assert problem.startswith(f"{path}: the ")
        with pytest.raises(CorruptionError, match=r"checkpoint 7 is damaged: .*000012.sst") as raised:
            await storage.fetch_files(7, entries, tmp_path / "out")
        assert raised.value.path == str(path)
        assert list((tmp_path / "out").iterdir()) == []
    path.unlink()
    path.write_bytes(content)
    assert await storage.verify(7) == []


async def test_every_damaged_byte_of_a_manifest_is_found(
    open_storage: OpenStorage, make_manifest: MakeManifest
) -> None:
    """The checkpoint is listed as damaged, and reading it says so."""
    storage = open_storage()
    await storage.write_manifest(make_manifest(7))
    path = Path(storage.address) / "checkpoints/0000000007/manifest.json"
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        (info,) = await storage.list()
        assert info.damaged
        with pytest.raises(CorruptionError, match=f"checkpoint 7 is damaged: {path}"):
            await storage.read(7)
        assert len(await storage.verify(7)) == 1


async def test_a_missing_content_is_named(
    storage: CheckpointStorage, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    """By verify and by fetch."""
    manifest = make_manifest(7, ["a.sst"])
    await storage.write_manifest(manifest)
    (problem,) = await storage.verify(7)
    assert problem.endswith(f"files/aa/{'a' * 64}: the file is missing")
    with pytest.raises(CorruptionError, match=r"the file is missing \(file a.sst\)"):
        await storage.fetch_files(7, list(manifest.files()), tmp_path / "out")


async def test_a_directory_that_cannot_be_restored_into_is_named(open_storage: OpenStorage, tmp_path: Path) -> None:
    """That is no damage of the checkpoint."""
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"cannot restore into .*out: .*make it writable") as raised:
        await open_storage().fetch_files(7, [], tmp_path / "out")
    assert not isinstance(raised.value, CorruptionError)


# Manifests


async def test_a_manifest_makes_a_checkpoint_exist(storage: CheckpointStorage, make_manifest: MakeManifest) -> None:
    """It can be listed, read by id and by name, and verified."""
    assert await storage.list() == []
    await storage.write_manifest(make_manifest(1))
    await storage.write_manifest(make_manifest(2, name="deploy"))
    assert await storage.read(1) == make_manifest(1)
    assert await storage.read("deploy") == await storage.read(2) == make_manifest(2, name="deploy")
    assert await storage.verify("deploy") == []
    assert [info.title for info in await storage.list()] == ["checkpoint 1", "savepoint 'deploy'"]


async def test_one_that_is_not_there_is_refused_and_those_there_are_named(
    storage: CheckpointStorage, make_manifest: MakeManifest
) -> None:
    """The user sees what could have been meant."""
    with pytest.raises(CheckpointError, match=r"there is no checkpoint 9 in .*; there are: none at all"):
        await storage.read(9)
    await storage.write_manifest(make_manifest(1))
    with pytest.raises(CheckpointError, match=r"there is no savepoint 'x' in .*; there are: checkpoint 1"):
        await storage.verify("x")


async def test_of_two_coordinators_exactly_one_writes_a_checkpoint(
    open_storage: OpenStorage, make_manifest: MakeManifest
) -> None:
    """At the same time, over one store; the other is fenced and told by whom."""
    store = MemoryStore()
    storages = [open_storage("memory://", threads=1, store=store) for _ in range(4)]
    done = await asyncio.gather(
        *(s.write_manifest(make_manifest(7, completed_at_ms=n)) for n, s in enumerate(storages, 1)),
        return_exceptions=True,
    )
    fenced = [outcome for outcome in done if isinstance(outcome, FencedError)]
    assert len(fenced) == 3
    winner = done.index(None) + 1
    assert (await storages[0].read(7)).completed_at_ms == winner
    assert "checkpoint 7 of job 'job' was written by attempt 1 already" in str(fenced[0])


async def test_what_an_old_attempt_has_written_late_costs_the_new_one_a_number(
    open_storage: OpenStorage, make_manifest: MakeManifest
) -> None:
    """A process came back with a checkpoint of the new one's number: the next takes another, and nobody ends."""
    storage = open_storage("memory://", store=MemoryStore())
    old, new = await storage.claim_attempt(), await storage.claim_attempt()
    await storage.begin(None)
    storage._blobs.put(manifest_path("job", 1), encode(make_manifest(1, attempt=old.attempt)))
    with pytest.raises(
        CheckpointError, match=r"checkpoint 1 was written by attempt 1, an older one that has come back"
    ):
        await storage.write_manifest(make_manifest(1, attempt=new.attempt))
    await storage.write_manifest(make_manifest(2, attempt=new.attempt))
    assert [info.left for info in await storage.list()] == [
        "attempt 2 began from nothing, and attempt 1 wrote this one",
        None,
    ]
    assert await storage.began_from_nothing()


async def test_an_attempt_that_is_overtaken_while_it_starts_does_not_begin(
    open_storage: OpenStorage, make_manifest: MakeManifest
) -> None:
    """It would do away with the output of the newer one."""
    store = MemoryStore()
    slow, quick = open_storage("memory://", store=store), open_storage("memory://", store=store)
    await slow.claim_attempt()
    await quick.claim_attempt()
    await quick.begin(None)
    with pytest.raises(FencedError, match="attempt 2 of job 'job' has taken over"):
        await slow.begin(None)


class _MeetingBlobs(Blobs):
    """A store that answers for the record of a start only while as many are asked for."""

    meeting = threading.Barrier(4, timeout=10)

    def get(self, path: str) -> bytes | None:
        if "/attempts/" in path:
            self.meeting.wait()
        return super().get(path)


async def test_the_records_of_starts_are_read_at_once(open_storage: OpenStorage) -> None:
    """As many as there are threads: an object store would make a start wait for each."""
    store = MemoryStore()
    for _ in range(8):
        await open_storage("memory://", store=store).claim_attempt()
    storage = open_storage("memory://", store=store, threads=4)
    storage._attempts._blobs = _MeetingBlobs("memory://", store)
    assert (await storage.claim_attempt()).attempt == 9


async def test_a_fenced_attempt_deletes_nothing(open_storage: OpenStorage, make_manifest: MakeManifest) -> None:
    """The newer one may have begun from just what the older one no longer wants."""
    store = MemoryStore()
    old, new = open_storage("memory://", store=store), open_storage("memory://", store=store)
    attempt = await old.claim_attempt()
    await old.begin(None)
    for checkpoint_id in (1, 2):
        await old.write_manifest(make_manifest(checkpoint_id, attempt=attempt.attempt))
    await new.claim_attempt()
    await new.begin(await new.read(1))
    with pytest.raises(FencedError, match=r"attempt 2 of job 'job' has taken over .*attempt 1 may not delete"):
        await apply_retention(old, 1)
    assert [info.checkpoint_id for info in await new.list()] == [1, 2]
    assert [info.left is None for info in await new.list()] == [True, False]


async def test_the_same_manifest_may_be_written_again(storage: CheckpointStorage, make_manifest: MakeManifest) -> None:
    """A retried request whose first answer was lost is no second coordinator."""
    await storage.write_manifest(make_manifest(7))
    await storage.write_manifest(make_manifest(7))


async def test_a_savepoint_is_not_overwritten(storage: CheckpointStorage, make_manifest: MakeManifest) -> None:
    """The name is taken: that is no fence, but a wrong name."""
    await storage.write_manifest(make_manifest(7, name="deploy"))
    with pytest.raises(CheckpointError, match="savepoint 'deploy' exists already") as raised:
        await storage.write_manifest(make_manifest(8, name="deploy"))
    assert not isinstance(raised.value, FencedError)
    with pytest.raises(ConfigError, match="savepoint name 'latest' cannot be used"):
        await storage.write_manifest(make_manifest(9, name="latest"))


async def test_an_older_attempt_is_fenced(storage: CheckpointStorage, make_manifest: MakeManifest) -> None:
    """From the moment a newer one has started it writes no manifest."""
    old = await storage.claim_attempt({"pid": 1})
    await storage.write_manifest(make_manifest(1, attempt=old.attempt))
    new = await storage.claim_attempt({"pid": 2})
    assert (old.attempt, new.attempt) == (1, 2)
    with pytest.raises(FencedError, match=r"attempt 2 \(pid 2\) of job 'job' has taken over in .*attempt 1 may"):
        await storage.write_manifest(make_manifest(2, attempt=old.attempt))
    assert [info.checkpoint_id for info in await storage.list()] == [1]


async def test_ids_are_not_used_again(storage: CheckpointStorage, make_manifest: MakeManifest) -> None:
    """Greater than those of whole and damaged ones, and of those that were there at an earlier start."""
    assert await storage.next_checkpoint_id() == 1
    await storage.write_manifest(make_manifest(5))
    await storage.write_manifest(make_manifest(8, name="deploy"))
    assert await storage.next_checkpoint_id() == 9
    attempt = await storage.claim_attempt()
    assert attempt.last_checkpoint_id == 8
    await storage.delete([5])
    await storage.delete_savepoint("deploy")
    assert await storage.list() == []
    assert await storage.next_checkpoint_id() == 9


async def test_the_id_of_a_damaged_checkpoint_is_not_used_again(
    open_storage: OpenStorage, make_manifest: MakeManifest
) -> None:
    """Its path still says it."""
    storage = open_storage()
    await storage.write_manifest(make_manifest(5))
    (Path(storage.address) / "checkpoints/0000000005/manifest.json").write_bytes(b"")
    assert await storage.next_checkpoint_id() == 6


async def test_a_manifest_that_cannot_be_written_leaves_no_checkpoint(
    open_storage: OpenStorage, make_manifest: MakeManifest, tmp_path: Path
) -> None:
    """And the older ones stay."""
    storage = open_storage()
    await storage.write_manifest(make_manifest(1))
    (tmp_path / "state/job/checkpoints/0000000002").write_bytes(b"in the way")
    with pytest.raises(CheckpointError, match=r"cannot write .*0000000002/manifest.json"):
        await storage.write_manifest(make_manifest(2))
    assert [info.checkpoint_id for info in await storage.list()] == [1]


# What must not be deleted


async def test_contents_are_pinned_until_the_manifest_names_them(
    storage: CheckpointStorage, make_manifest: MakeManifest, make_snapshot: MakeSnapshot
) -> None:
    """Deleting them meanwhile has no effect."""
    entries = await storage.store_files(make_snapshot({"a": b"a"}), {})
    assert storage.pinned == {entries[0].sha256}
    await storage.delete_contents([entries[0].sha256])
    await storage.write_manifest(make_manifest(1, entries))
    assert storage.pinned == frozenset()
    assert await storage.verify(1) == []


async def test_contents_of_two_checkpoints_under_way_are_pinned_twice(
    storage: CheckpointStorage, make_snapshot: MakeSnapshot
) -> None:
    """One given up does not unpin the other's."""
    first = await storage.store_files(make_snapshot({"a": b"a"}), {})
    await storage.store_files(make_snapshot({"a": b"a"}), {})
    storage.release(first)
    assert storage.pinned == {first[0].sha256}
    storage.release(first)
    assert storage.pinned == frozenset()


async def test_a_content_stored_while_it_is_deleted_is_there_in_the_end(
    open_storage: OpenStorage, make_manifest: MakeManifest, make_snapshot: MakeSnapshot
) -> None:
    """Retention and a new checkpoint meet over the same content: in either order it stays."""
    storage = open_storage(threads=4)
    contents = {f"f{i}": b"%d" % i for i in range(20)}
    for checkpoint_id in range(1, 6):
        entries = await storage.store_files(make_snapshot(contents), {})
        storage.release(entries)
        _, again = await asyncio.gather(
            storage.delete_contents([entry.sha256 for entry in entries]),
            storage.store_files(make_snapshot(contents), {}),
        )
        await storage.write_manifest(make_manifest(checkpoint_id, again))
        assert await storage.verify(checkpoint_id) == []


async def test_unnamed_contents_are_found_after_a_grace_period(
    storage: CheckpointStorage, make_snapshot: MakeSnapshot, clock: ManualClock
) -> None:
    """Not those that are named or pinned, and not those just written."""
    entries = await storage.store_files(make_snapshot({"a": b"a", "b": b"b"}), {})
    clock.advance(1_000_000_000)
    assert await storage.unnamed_contents([], 1_000) == []
    storage.release(entries)
    assert await storage.unnamed_contents([entries[0].sha256], 1_000) == [entries[1].sha256]
    assert await storage.unnamed_contents([], 2_000_000_000_000) == []


class Crash(Exception):
    """The process ends here."""


class CrashingExecutor:
    """Runs what it is given in line, and crashes at one step: before it or, with `after`, just behind it."""

    def __init__(self, crash_at: int, *, after: bool) -> None:
        self.steps = 0
        self._crash_at = crash_at
        self._after = after

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        self.steps += 1
        if self.steps == self._crash_at and not self._after:
            raise Crash
        result = function(*args)
        if self.steps >= self._crash_at:
            raise Crash
        return result

    def close(self) -> None:
        """Nothing is held."""


async def work(storage: CheckpointStorage, make_manifest: MakeManifest, make_snapshot: MakeSnapshot) -> None:
    """Three checkpoints that share contents, with retention, as a coordinator takes them."""
    attempt = await storage.claim_attempt()
    known: dict[str, str] = {}
    first = await storage.next_checkpoint_id()
    for checkpoint_id, letters in zip(range(first, first + 3), ("ab", "bc", "ca"), strict=True):
        files = make_snapshot({letter: letter.encode() for letter in letters}, immutable=letters)
        entries = await storage.store_files(files, known)
        await storage.write_manifest(make_manifest(checkpoint_id, entries, attempt=attempt.attempt))
        await apply_retention(storage, 1)
    await sweep(storage, 0)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_step_leaves_whole_checkpoints(
    tmp_path: Path, make_manifest: MakeManifest, make_snapshot: MakeSnapshot, clock: ManualClock, *, after: bool
) -> None:
    """Every step that leaves the event loop is tried: what is listed is whole, and the next start goes on."""
    clock.advance(1_000_000_000)
    counting = CrashingExecutor(10**9, after=False)
    await work(CheckpointStorage("memory://", "job", counting, clock), make_manifest, make_snapshot)
    assert counting.steps > 20
    for step in range(1, counting.steps + 1):
        location = tmp_path / f"state-{step}"
        crashing = CheckpointStorage(location, "job", CrashingExecutor(step, after=after), clock)
        with pytest.raises(Crash):
            await work(crashing, make_manifest, make_snapshot)
        storage = CheckpointStorage(location, "job", InlineExecutor(), clock)
        before = [info.checkpoint_id for info in await storage.list()]
        for checkpoint_id in before:
            assert checkpoint_id is not None
            assert await storage.verify(checkpoint_id) == []
        await work(storage, make_manifest, make_snapshot)
        (info,) = await storage.list()
        assert info.checkpoint_id == (before[-1] or 0) + 3 if before else 3
        assert await storage.verify(info.checkpoint_id or 0) == []
        assert len([path for path in (location / "job/files").rglob("*") if path.is_file()]) == 2


# Between processes


async def test_a_locked_directory_fences_others(open_storage: OpenStorage) -> None:
    """Until it is unlocked."""
    first, second = open_storage(), open_storage()
    await first.lock()
    await first.lock()
    with pytest.raises(FencedError, match="stop it or use another directory"):
        await second.lock()
    first.unlock()
    await second.lock()


async def test_memory_needs_no_lock(open_storage: OpenStorage) -> None:
    """Nobody else can see it."""
    storage = open_storage("memory://")
    await storage.lock()
    storage.unlock()


async def test_a_job_name_that_leads_elsewhere_is_refused(open_storage: OpenStorage) -> None:
    """Before anything is made."""
    with pytest.raises(ConfigError, match="cannot be used as a folder"):
        open_storage(job="../other")


STORE = """
import asyncio, sys
from pathlib import Path
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.clock import SystemClock
from tidegate.engine.executor import ThreadExecutor
from tidegate.engine.state.backend import SnapshotFiles, StoreSnapshot

async def main(location, directory):
    names = tuple(sorted(path.name for path in directory.iterdir()))
    files = SnapshotFiles(StoreSnapshot("dict", "count", 0, (0, 128), ()), directory, names, {})
    executor = ThreadExecutor()
    print("storing", flush=True)
    while True:
        storage = CheckpointStorage(location, "job", executor, SystemClock())
        await storage.store_files(files, {})

asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_contents_only(
    open_storage: OpenStorage, make_snapshot: MakeSnapshot, tmp_path: Path
) -> None:
    """Whatever lies under a content's name matches it, and the rest is swept away."""
    snapshot = make_snapshot({f"f{i}": bytes([i]) * 1_000_000 for i in range(8)})
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", STORE, str(tmp_path / "state"), str(snapshot.directory)],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"storing\n"
            try:
                process.wait(0.15)
            except subprocess.TimeoutExpired:
                process.kill()
    storage = open_storage()
    found: list[Any] = [path for path in (Path(storage.address) / "files").rglob("*") if path.is_file()]
    assert found
    for path in found:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
