"""Whole files, and the checkpoints of a job, in a real store with the interface of Azure."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import files, formats
from tidegate.engine import JobStatus, OperatorError, RunConfig, Topology, restart
from tidegate.engine.checkpoint.blobs import BlobExistsError, Blobs
from tidegate.engine.checkpoint.objects import PART_BYTES
from tidegate.engine.checkpoint.store_options import StoreSettings
from tidegate.engine.errors import CheckpointError
from tidegate.engine.testing import BARRIER, CRASH, ScriptedSource, run_script
from tidegate.engine.testing.azure_server import LocalAzure, azurite_is_installed

# Installing it takes minutes and needs a network, so it is no part of the quick tests.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def azure() -> Iterator[LocalAzure]:
    """A store, shared by the tests of this file: they use prefixes of their own."""
    if shutil.which("node") is None or (shutil.which("npm") is None and not azurite_is_installed()):
        pytest.skip("no Azure store: there is no Node (node, npm) to install and run Azurite with")
    with LocalAzure() as store:
        yield store


@pytest.fixture
def url(azure: LocalAzure) -> str:
    """A prefix that no other test uses."""
    return azure.url(f"test-{secrets.token_hex(4)}")


def _settings(azure: LocalAzure, **options: str) -> StoreSettings:
    return StoreSettings({**azure.options, **options}, request_timeout_s=20, patience_s=2)


@pytest.fixture
def blobs(azure: LocalAzure, url: str) -> Blobs:
    """Files in the store."""
    return Blobs(url, settings=_settings(azure))


def test_a_file_is_written_read_and_replaced(blobs: Blobs) -> None:
    """One that is not there is None."""
    assert blobs.get("job/a") is None
    blobs.put("job/a", b"one")
    blobs.put("job/a", b"two")
    assert blobs.get("job/a") == b"two"
    assert blobs.digest("job/none") is None


def test_of_several_writers_one_creates(blobs: Blobs) -> None:
    """The same bytes are taken for ours, others are refused and change nothing."""
    blobs.put("job/manifest.json", b"mine", create=True)
    blobs.put("job/manifest.json", b"mine", create=True)
    with pytest.raises(BlobExistsError):
        blobs.put("job/manifest.json", b"theirs", create=True)
    assert blobs.get("job/manifest.json") == b"mine"


def test_a_big_file_goes_there_and_back(blobs: Blobs, tmp_path: Path) -> None:
    """In parts there, as a whole and in ranges back; what lies beyond its end is not there."""
    content = random.Random(1).randbytes(2 * PART_BYTES + 7)
    (tmp_path / "source").write_bytes(content)
    blobs.put_file("job/files/big", tmp_path / "source")
    expected = len(content), hashlib.sha256(content).hexdigest()
    assert blobs.digest("job/files/big", tmp_path / "copy") == expected
    assert (tmp_path / "copy").read_bytes() == content
    (tmp_path / "part").write_bytes(bytes(len(content)))
    start, end = PART_BYTES - 5, PART_BYTES + 5
    assert blobs.fetch_range("job/files/big", start, end, tmp_path / "part") == len(content)
    assert (tmp_path / "part").read_bytes()[start:end] == content[start:end]
    beyond = len(content) + 1
    assert blobs.fetch_range("job/files/big", beyond, beyond + 9, tmp_path / "part") == len(content)


def test_files_are_listed_and_deleted(blobs: Blobs) -> None:
    """Those that are gone already do not matter."""
    for path in ("job/files/ab/1", "job/files/cd/2", "other/3"):
        blobs.put(path, b"12345")
    assert sorted((found.path, found.size) for found in blobs.list("job")) == [
        ("job/files/ab/1", 5),
        ("job/files/cd/2", 5),
    ]
    assert blobs.folders() == ["job", "other"]
    assert blobs.folders("job/files") == ["ab", "cd"]
    blobs.delete(["job/files/ab/1", "job/files/gone"])
    blobs.delete(["job/files/ab/1"])
    assert [found.path for found in blobs.list("job")] == ["job/files/cd/2"]


def test_what_is_refused_says_what_to_do(azure: LocalAzure, url: str) -> None:
    """No such container is not an empty storage, and a wrong key is named as one that is not allowed."""
    nowhere = Blobs(azure.url("state", container="nowhere"), settings=_settings(azure))
    for attempt in (lambda: nowhere.get("job/a"), lambda: nowhere.put("job/a", b"1"), lambda: nowhere.list("job")):
        with pytest.raises(CheckpointError, match="there is no such bucket"):
            attempt()
    wrong = Blobs(url, settings=_settings(azure, account_key="AAAA" * 21 + "AAA="))
    with pytest.raises(CheckpointError, match="refuses it to these credentials"):
        wrong.put("job/a", b"1")


async def test_a_job_that_crashed_goes_on_from_there(azure: LocalAzure, url: str, tmp_path: Path) -> None:
    """Another process fetches the state, and every record comes once."""
    chance = random.Random(2)
    records = [(f"k{number}", chance.randbytes(500).hex()) for number in range(300)]
    values: dict[str, Any] = {
        "checkpoints": url,
        "checkpoint_store": azure.options,
        "checkpoint_interval": "1h",
        "restart": restart.never(),
        "state_dir": tmp_path / "work",
    }

    async def go(script: list[Any]) -> JobStatus:
        source = ScriptedSource(script)
        topology = Topology("pairs")
        (
            topology.source("pairs", source)
            .key_by(lambda pair: pair[0])
            .reduce(lambda _, newest: newest, name="last", type=tuple[str, str])
            .map(lambda pair: pair[0])
            .sink("keys", files.lines(tmp_path / "out", formats.json()))
        )
        return await run_script(topology, source, RunConfig(**values))

    with pytest.raises(OperatorError, match="ScriptedCrash"):
        await go([*records, BARRIER, *records[:50], CRASH])
    assert await go([*records, BARRIER, *records[:100]]) is JobStatus.FINISHED
    assert Counter(_lines(tmp_path)) == Counter(key for key, _ in [*records, *records[:100]])


def _lines(folder: Path) -> list[str]:
    """All that is visible."""
    return [json.loads(line) for path in folder.glob("out/*.jsonl") for line in path.read_text().splitlines()]
