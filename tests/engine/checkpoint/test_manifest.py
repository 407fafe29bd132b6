"""The manifest's format."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.connectors.source import Split
from tidegate.engine.checkpoint.manifest import (
    FileEntry,
    InFlightEdge,
    InFlightEntry,
    InFlightSubtask,
    Manifest,
    ManifestDamage,
    OperatorEntry,
    SplitEntry,
    SubtaskState,
    decode,
    encode,
    salvage_checkpoint_id,
)
from tidegate.engine.errors import CheckpointError
from tidegate.engine.state.backend import StateSchema, StoreSnapshot

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def full_manifest(offset: Any = None, where: Any = None) -> Manifest:
    schema = StateSchema("total", "keyed", 1, ("int",))
    snapshot = StoreSnapshot("rocksdb", "count", 1, (64, 128), (schema,), {"where": where})
    return Manifest(
        job="job",
        topology="flights",
        topology_version="1",
        fingerprint="abc",
        checkpoint_id=57,
        attempt=3,
        kind="savepoint",
        name="before-deploy",
        triggered_at_ms=1_000,
        completed_at_ms=1_050,
        durations_ms={"upload": 20, "alignment": 3},
        max_parallelism=128,
        operators={
            "count": OperatorEntry("aggregate", 2, (SubtaskState(snapshot, (FileEntry("CURRENT", 16, "0" * 64),)),))
        },
        sources={"flights": {"a": SplitEntry(Split("a", {"path": "a.jsonl"}), offset, False, -1, 10)}},
        committables={"delays": [{"part": "part-1"}]},
        restored_from=56,
        finished=True,
        in_flight={
            "count": InFlightEntry(
                2,
                (InFlightEdge("flights", None, 0, "hash", 2),),
                (InFlightSubtask(1, 5, (5, 9), (False, True), 3, (FileEntry("in-flight.msgpack", 20, "1" * 64),)),),
            )
        },
    )


@given(offset=json_values, where=json_values)
def test_a_manifest_survives_writing_and_reading(offset: Any, where: Any) -> None:
    """What is read is what was written, with offsets and details of any JSON shape."""
    manifest = full_manifest(offset, where)
    assert decode(encode(manifest)) == manifest


def test_the_same_manifest_gives_the_same_bytes() -> None:
    """Maps are written in order of their keys, whatever the order of insertion."""
    one = msgspec.structs.replace(full_manifest(), durations_ms={"upload": 20, "alignment": 3})
    other = msgspec.structs.replace(full_manifest(), durations_ms={"alignment": 3, "upload": 20})
    assert encode(one) == encode(other)


def test_the_file_is_one_json_object_that_starts_with_its_format_and_ends_with_its_checksum() -> None:
    """Any JSON tool can read it."""
    members = list(json.loads(encode(full_manifest())))
    assert members[:2] == ["format", "format_version"]
    assert members[-1] == "sha256"
    assert encode(full_manifest()).endswith(b'"}\n')


def test_every_changed_byte_is_noticed() -> None:
    """Damage at any position of the file, also in the checksum itself, is damage."""
    data = encode(full_manifest())
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        with pytest.raises(ManifestDamage):
            decode(bytes(damaged))


def test_every_cut_is_noticed() -> None:
    """A file that ends too early is damage, also when it is empty."""
    data = encode(full_manifest())
    for length in range(len(data)):
        with pytest.raises(ManifestDamage):
            decode(data[:length])


def test_a_newer_format_is_refused_and_is_not_damage() -> None:
    """The message says to update, and which formats can be read."""
    newer = msgspec.structs.replace(full_manifest(), format_version=3)
    with pytest.raises(CheckpointError, match=r"format 3 by a newer Tidegate.*up to 2: update Tidegate"):
        decode(encode(newer))


def test_another_format_is_refused() -> None:
    """A sealed file of another kind is not taken for a checkpoint."""
    other = msgspec.structs.replace(full_manifest(), format="something")
    with pytest.raises(CheckpointError, match="its format is 'something'"):
        decode(encode(other))


@pytest.mark.parametrize("name", ["../CURRENT", "/etc/passwd", "a//b", "", "a/..", "."])
def test_a_file_name_that_leads_outside_its_folder_is_refused(name: str) -> None:
    """A manifest cannot make a restore write elsewhere."""
    manifest = full_manifest()
    state = manifest.operators["count"].subtasks[0]
    evil = OperatorEntry("aggregate", 1, (SubtaskState(state.snapshot, (FileEntry(name, 1, "0" * 64),)),))
    with pytest.raises(ManifestDamage, match="outside its folder"):
        decode(encode(msgspec.structs.replace(manifest, operators={"count": evil})))


@pytest.mark.parametrize("sha256", ["../../secret", "0" * 63, "G" * 64])
def test_a_checksum_that_is_none_is_refused(sha256: str) -> None:
    """A checksum is also the path of the content, so it must look like one."""
    manifest = full_manifest()
    state = manifest.operators["count"].subtasks[0]
    evil = OperatorEntry("aggregate", 1, (SubtaskState(state.snapshot, (FileEntry("a", 1, sha256),)),))
    with pytest.raises(ManifestDamage, match="is no SHA-256"):
        decode(encode(msgspec.structs.replace(manifest, operators={"count": evil})))


def test_the_id_of_a_damaged_manifest_can_be_salvaged() -> None:
    """Enough to not use the id a second time; None where it is gone."""
    assert salvage_checkpoint_id(encode(full_manifest())[:-100]) == 57
    assert salvage_checkpoint_id(b"nothing") is None


def test_contents_named_twice_count_once() -> None:
    """The size of a checkpoint is the size of its different contents."""
    manifest = full_manifest()
    state = manifest.operators["count"].subtasks[0]
    files = (FileEntry("a", 10, "a" * 64), FileEntry("b", 10, "a" * 64), FileEntry("c", 5, "c" * 64))
    entry = OperatorEntry("aggregate", 1, (SubtaskState(state.snapshot, files),))
    manifest = msgspec.structs.replace(manifest, operators={"count": entry}, in_flight={})
    assert manifest.state_bytes == 15
    assert manifest.contents() == {"a" * 64: 10, "c" * 64: 5}


def test_a_title_names_the_checkpoint_or_the_savepoint() -> None:
    """Messages call it as the user does."""
    assert full_manifest().title == "savepoint 'before-deploy'"
    assert msgspec.structs.replace(full_manifest(), kind="checkpoint", name=None).title == "checkpoint 57"


def test_records_in_flight_count_among_the_files() -> None:
    """So they are verified, kept and deleted with the rest."""
    manifest = full_manifest()
    assert manifest.contents() == {"0" * 64: 16, "1" * 64: 20}
    assert (manifest.state_bytes, manifest.in_flight_bytes, manifest.in_flight_records) == (36, 20, 3)


def test_a_manifest_of_before_there_were_records_in_flight_is_read() -> None:
    """It has none."""
    older = json.loads(encode(msgspec.structs.replace(full_manifest(), in_flight={})))
    del older["in_flight"], older["sha256"]
    body = json.dumps(older, separators=(",", ":")).encode()
    sealed = body[:-1] + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    assert decode(sealed).in_flight == {}
