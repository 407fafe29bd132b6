"""Whole files in a real object store, over a network that fails."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine.checkpoint import contents
from tidegate.engine.checkpoint.attempts import Attempts
from tidegate.engine.checkpoint.blobs import BlobExistsError, Blobs
from tidegate.engine.checkpoint.contents import FetchProgress
from tidegate.engine.checkpoint.manifest import Manifest
from tidegate.engine.checkpoint.objects import PART_BYTES
from tidegate.engine.checkpoint.retention import apply_retention
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.checkpoint.store_options import StoreSettings
from tidegate.engine.clock import SystemClock
from tidegate.engine.errors import CheckpointError, CorruptionError, StoreUnavailableError
from tidegate.engine.executor import ThreadExecutor
from tidegate.engine.state.backend import SnapshotFiles, StoreSnapshot
from tidegate.engine.testing.faulty_http import Chance, Fault, FaultyHttp
from tidegate.engine.testing.s3_server import LocalS3

BIG = os.urandom(1 << 20) * 17


class Rig:
    """Blobs behind a proxy, called in threads."""

    def __init__(self, url: str, settings: StoreSettings, proxy: FaultyHttp, executor: ThreadExecutor) -> None:
        self.url = url
        self.settings = replace(settings, options={**settings.options, "endpoint": proxy.url})
        self.proxy = proxy
        self.executor = executor
        self.blobs = Blobs(url, settings=self.settings)

    def do(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """The result of a blocking call."""
        return self.executor.run(lambda: function(*args, **named))


@pytest.fixture
def rig(s3: LocalS3, s3_url: str, s3_settings: StoreSettings) -> Callable[..., Any]:
    """`async with rig(Fault(...), …) as at_work`."""

    @asynccontextmanager
    async def make(*faults: Fault, chance: Chance | None = None) -> AsyncIterator[Rig]:
        executor = ThreadExecutor(8)
        try:
            async with FaultyHttp(s3.address, faults, chance=chance) as proxy:
                yield Rig(s3_url, s3_settings, proxy, executor)
        finally:
            executor.close()

    return make


# Conditional creation


async def test_a_creation_whose_answer_was_lost_is_ours(rig: Callable[..., Any]) -> None:
    """Tried again it is said to exist: what is there tells."""
    async with rig(Fault("lose_answer", method="PUT")) as at_work:
        await at_work.do(at_work.blobs.put, "job/manifest.json", b"mine", create=True)
        assert await at_work.do(at_work.blobs.get, "job/manifest.json") == b"mine"


async def test_a_creation_that_was_cut_is_made_again(rig: Callable[..., Any]) -> None:
    """The store has nothing of it."""
    async with rig(Fault("cut_request", method="PUT")) as at_work:
        await at_work.do(at_work.blobs.put, "job/manifest.json", b"mine" * 1000, create=True)
        assert await at_work.do(at_work.blobs.get, "job/manifest.json") == b"mine" * 1000


@pytest.mark.parametrize("kind", ["lose_answer", "cut_request"])
async def test_a_creation_that_failed_is_not_taken_for_somebody_elses(rig: Callable[..., Any], kind: Any) -> None:
    """Another one is there, whatever became of ours."""
    async with rig() as at_work:
        await at_work.do(at_work.blobs.put, "job/manifest.json", b"theirs", create=True)
        at_work.proxy.faults.append(Fault(kind, method="PUT"))
        with pytest.raises(BlobExistsError):
            await at_work.do(at_work.blobs.put, "job/manifest.json", b"mine", create=True)
        assert await at_work.do(at_work.blobs.get, "job/manifest.json") == b"theirs"


async def test_a_start_whose_answer_was_lost_takes_one_number(rig: Callable[..., Any]) -> None:
    """Not two: it would fence itself."""
    async with rig(Fault("lose_answer", method="PUT")) as at_work:
        attempts = Attempts(at_work.blobs, "job")
        record = await at_work.do(attempts.claim, 1_000, 0, {"pid": 1})
        assert record.attempt == 1
        assert (await at_work.do(attempts.newest)) == record


async def test_starts_at_once_over_a_bad_network_get_different_numbers(rig: Callable[..., Any]) -> None:
    """Also when they say the same about themselves: a token tells them apart."""
    async with rig(chance=Chance(3, 0.2)) as at_work:
        claims = [at_work.do(Attempts(at_work.blobs, "job").claim, 1_000, 0, {"pid": 1}) for _ in range(8)]
        records = await asyncio.gather(*claims)
        assert sorted(record.attempt for record in records) == list(range(1, 9))


async def test_a_start_asks_for_the_record_of_each_earlier_start_once(
    rig: Callable[..., Any], make_manifest: Callable[..., Manifest]
) -> None:
    """And while it runs only whether there is a newer one: where records of starts lie is not listed for retention but when
    something is to be deleted."""
    async with rig() as at_work:
        storages = [
            CheckpointStorage(at_work.url, "job", at_work.executor, SystemClock(), settings=at_work.settings)
            for _ in range(6)
        ]
        for storage in storages[:-1]:
            await storage.claim_attempt()
            await storage.begin(None)
        storage, seen = storages[-1], at_work.proxy
        seen.forget()
        attempt = (await storage.claim_attempt()).attempt
        await storage.next_checkpoint_id()
        await storage.list()
        await storage.began_from_nothing()
        await storage.begin(None)
        assert sorted(
            r.path.rsplit("/", 1)[-1] for r in seen.requests if r.method == "GET" and "/attempts/0" in r.path
        ) == [f"{n:06d}.json" for n in range(1, 6)]
        listings = []
        for checkpoint_id in (1, 2, 3):
            seen.forget()
            await storage.write_manifest(make_manifest(checkpoint_id, attempt=attempt))
            await apply_retention(storage, 2)
            assert not [r for r in seen.requests if r.method == "GET" and "/attempts/0" in r.path]
            listings.append(sum("attempts" in r.query for r in seen.requests))
        assert listings == [2, 2, 3]


class ForgetfulBlobs(Blobs):
    """A store whose listings do not yet show what was written."""

    def list(self, prefix: str) -> list[Any]:
        return []


async def test_a_number_that_no_listing_shows_is_not_taken_twice(rig: Callable[..., Any]) -> None:
    """The name itself decides, so it is tried by name."""
    async with rig() as at_work:
        blind = ForgetfulBlobs(at_work.url, settings=at_work.settings)
        taken = [(await at_work.do(Attempts(blind, "job").claim, 1_000, 0, {})).attempt for _ in range(3)]
        assert taken == [1, 2, 3]


# Listings


@pytest.mark.parametrize("kind", ["cut_answer", "lose_answer", "refuse"])
async def test_a_listing_that_breaks_off_is_asked_for_again(rig: Callable[..., Any], kind: Any) -> None:
    """Of files as of folders."""
    async with rig(Fault(kind, method="GET", path="list-type")) as at_work:
        await at_work.do(at_work.blobs.put, "job/a/1", b"x")
        assert [found.path for found in await at_work.do(at_work.blobs.list, "job")] == ["job/a/1"]
        at_work.proxy.faults.append(Fault(kind, method="GET", path="delimiter"))
        assert await at_work.do(at_work.blobs.folders, "job") == ["a"]
        assert [r.fault for r in at_work.proxy.requests if r.fault] == [kind, kind]


# Whole files


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refuse", "cut_request", "cut_answer", "lose_answer"])
async def test_one_fault_changes_nothing(rig: Callable[..., Any], tmp_path: Path, kind: Any) -> None:
    """Whichever request it hits, small files and big ones are sent and fetched whole."""
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "big").write_bytes(BIG)
    async with rig() as at_work:
        # Two requests for the small file; for the big one the begin, three parts, the end, and one to read it.
        for name, content, after in [("small", b"small", n) for n in range(2)] + [("big", BIG, n) for n in range(6)]:
            at_work.proxy.faults[:] = [Fault(kind, after=after)]
            at_work.proxy.forget()
            await at_work.do(at_work.blobs.put_file, f"job/{name}", tmp_path / name)
            found = await at_work.do(at_work.blobs.digest, f"job/{name}", tmp_path / "copy")
            assert found == (len(content), hashlib.sha256(content).hexdigest())
            assert (tmp_path / "copy").read_bytes() == content
            assert at_work.proxy.faults[0].after < len(at_work.proxy.requests)


async def test_a_big_file_is_sent_in_parts(rig: Callable[..., Any], tmp_path: Path) -> None:
    """None of them bigger than a part."""
    (tmp_path / "big").write_bytes(BIG)
    async with rig() as at_work:
        await at_work.do(at_work.blobs.put_file, "job/big", tmp_path / "big")
        parts = [request.body_bytes for request in at_work.proxy.requests if request.method == "PUT"]
    assert len(parts) == 3
    assert max(parts) <= PART_BYTES + 1000


# Contents


def _snapshot(folder: Path, content: bytes) -> SnapshotFiles:
    folder.mkdir(exist_ok=True)
    (folder / "000012.sst").write_bytes(content)
    return SnapshotFiles(StoreSnapshot("dict", "count", 0, (0, 128), ()), folder, ("000012.sst",), {})


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventeen megabytes are big already."""
    monkeypatch.setattr(contents, "RANGE_BYTES", PART_BYTES)


@pytest.mark.usefixtures("small_ranges")
async def test_a_big_content_is_fetched_in_ranges_at_once(rig: Callable[..., Any], tmp_path: Path) -> None:
    """Put together it is verified; progress is counted on the way."""
    async with rig() as at_work:
        storage = CheckpointStorage(
            at_work.url, "job", at_work.executor, SystemClock(), settings=at_work.settings, at_once=4
        )
        entries = await storage.store_files(_snapshot(tmp_path / "snapshot", BIG), {})
        at_work.proxy.forget()
        progress = FetchProgress(len(BIG))
        await storage.fetch_files(1, entries, tmp_path / "out", progress)
        gets = [request for request in at_work.proxy.requests if request.method == "GET"]
    assert (tmp_path / "out" / "000012.sst").read_bytes() == BIG
    assert len(gets) == 3
    assert (progress.done_bytes, progress.linked_bytes) == (len(BIG), 0)


@pytest.mark.parametrize("kind", ["cut_answer", "lose_answer", "refuse"])
@pytest.mark.usefixtures("small_ranges")
async def test_a_range_that_breaks_off_goes_on(rig: Callable[..., Any], tmp_path: Path, kind: Any) -> None:
    """From where it was; each of them once."""
    async with rig() as at_work:
        storage = CheckpointStorage(at_work.url, "job", at_work.executor, SystemClock(), settings=at_work.settings)
        entries = await storage.store_files(_snapshot(tmp_path / "snapshot", BIG), {})
        at_work.proxy.faults[:] = [Fault(kind, method="GET", after=after) for after in (0, 2, 4)]
        await storage.fetch_files(1, entries, tmp_path / "out")
    assert (tmp_path / "out" / "000012.sst").read_bytes() == BIG


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [True, False])
async def test_damage_of_a_big_content_is_named(
    rig: Callable[..., Any],
    s3: LocalS3,
    s3_url: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    *,
    ranges: bool,
) -> None:
    """A changed byte, one too few or too many, and none at all; no damaged copy is left."""
    if ranges:
        request.getfixturevalue("small_ranges")
    async with rig() as at_work:
        storage = CheckpointStorage(at_work.url, "job", at_work.executor, SystemClock(), settings=at_work.settings)
        (entry,) = await storage.store_files(_snapshot(tmp_path / "snapshot", BIG), {})
        path = s3.objects / s3_url.rsplit("/", 1)[-1] / "job" / "files" / entry.sha256[:2] / entry.sha256
        changed = BIG[:-1] + bytes([BIG[-1] ^ 1])
        for damage, reason in (
            (changed, "the content does not match its SHA-256"),
            (BIG[:-1], f"the file has {len(BIG) - 1} bytes instead of {len(BIG)}"),
            (BIG[: PART_BYTES - 5], f"the file has {PART_BYTES - 5} bytes instead of {len(BIG)}"),
            (BIG + b"!", f"the file has {len(BIG) + 1} bytes instead of {len(BIG)}"),
            (None, "the file is missing"),
        ):
            if damage is None:
                path.unlink()
            else:
                path.write_bytes(damage)
            with pytest.raises(CorruptionError, match=reason):
                await storage.fetch_files(7, [entry], tmp_path / "out")
            assert list((tmp_path / "out").iterdir()) == []


class ClockOfWaits(SystemClock):
    """Whoever sleeps has slept at once; adds up how long."""

    def __init__(self) -> None:
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds


async def test_no_more_is_sent_than_the_rate_allows(rig: Callable[..., Any], tmp_path: Path) -> None:
    """Seventeen megabytes at two a second, in pieces: no piece before its time."""
    clock = ClockOfWaits()
    async with rig() as at_work:
        storage = CheckpointStorage(
            at_work.url, "job", at_work.executor, clock, settings=at_work.settings, upload_rate=2 << 20
        )
        entries = await storage.store_files(_snapshot(tmp_path / "snapshot", BIG), {})
        await storage.fetch_files(1, entries, tmp_path / "out")
    assert clock.slept == pytest.approx(8.0, abs=0.01)


async def test_a_checkpoint_that_was_given_up_sends_no_more(rig: Callable[..., Any], tmp_path: Path) -> None:
    """Between two pieces it is asked whether anybody wants it; no object appears."""
    asked = 0

    def is_wanted() -> bool:
        nonlocal asked
        asked += 1
        return asked < 5

    async with rig() as at_work:
        storage = CheckpointStorage(at_work.url, "job", at_work.executor, SystemClock(), settings=at_work.settings)
        with pytest.raises(CheckpointError, match="was given up while its files were being stored"):
            await storage.store_files(_snapshot(tmp_path / "snapshot", BIG), {}, is_wanted)
        assert storage.pinned == frozenset()
        assert await at_work.do(at_work.blobs.list, "job") == []


# Errors in words


REFUSED: dict[str, tuple[dict[str, str], str, str]] = {
    "a wrong secret": (
        {"secret_access_key": "env:WRONG"},
        "",
        r"cannot write s3://tidegate/x/job/a: the store does not accept the credentials; .* \(SignatureDoesNotMatch\)",
    ),
    "a wrong key": (
        {"access_key_id": "nobody"},
        "",
        r"cannot write s3://tidegate/x/job/a: the store does not accept the credentials; .* \(XAdminUserNotFound\)",
    ),
    "no such bucket": (
        {},
        "s3://nowhere/x",
        r"cannot write s3://nowhere/x/job/a: there is no such bucket; make it, or correct its name \(NoSuchBucket\)",
    ),
    "nobody there": (
        {"endpoint": "http://127.0.0.1:9"},
        "",
        r"cannot write s3://tidegate/x/job/a: the store cannot be reached; check its endpoint and the network",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_refuses_is_told_in_one_line(
    s3: LocalS3, s3_settings: StoreSettings, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """With bucket and key, and the remedy; no credential is in it."""
    monkeypatch.setenv("WRONG", "a-wrong-secret")
    changed, url, expected = REFUSED[what]
    settings = replace(s3_settings, options={**s3_settings.options, **changed}, patience_s=0.2)
    blobs = Blobs(url or "s3://tidegate/x", settings=settings)
    with pytest.raises(CheckpointError, match=f"^{expected}$") as raised:
        blobs.put("job/a", b"1")
    assert isinstance(raised.value, StoreUnavailableError) == (what == "nobody there")
    assert "a-wrong-secret" not in str(raised.value)
    assert s3.secret_key not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "bucket", "reason"),
    [({}, "nowhere", "there is no such bucket"), ({"access_key_id": "nobody"}, "tidegate", "does not accept")],
)
def test_a_store_that_does_not_know_bucket_or_user_is_no_empty_one(
    s3: LocalS3, s3_settings: StoreSettings, changed: dict[str, str], bucket: str, reason: str
) -> None:
    """It answers that nothing is found; taken for that, a job would start from nothing."""
    blobs = Blobs(f"s3://{bucket}/x", settings=replace(s3_settings, options={**s3_settings.options, **changed}))
    for ask in (blobs.list, blobs.get, blobs.digest, blobs.folders):
        with pytest.raises(CheckpointError, match=rf"s3://{bucket}/x/job.*: .*{reason}"):
            ask("job")


@pytest.mark.slow
async def test_a_store_that_is_out_of_order_is_waited_for_and_then_named(rig: Callable[..., Any]) -> None:
    """For as long as the settings say."""
    async with rig(Fault("refuse", method="PUT", times=None)) as at_work:
        with pytest.raises(StoreUnavailableError, match="the store is overloaded or out of order; try later"):
            await at_work.do(at_work.blobs.put, "job/a", b"1")
        assert len(at_work.proxy.requests) > 2
