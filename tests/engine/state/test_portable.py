"""The portable format: files that say what they hold, in order, in parts, and that tell when they are damaged."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.engine.errors import StateError
from tidegate.engine.state import portable
from tidegate.engine.state.backend import StateSchema, StoreSnapshot
from tidegate.engine.state.entries import RawEntry, database_key
from tidegate.engine.state.key_groups import encode_key, key_group
from tidegate.engine.state.portable import Header, PortableFiles, StateWriter, fields_of, file_name

GROUPS = 16
encode = msgspec.msgpack.encode

TOTALS = StateSchema("totals", "keyed", 2, ("int",))
BRIEF = StateSchema("brief", "keyed", 1, ("str", "expiring"))
WINDOWS = StateSchema("windows", "window", 1, ("list[int]",))
SEEN = StateSchema("seen", "map", 1, ("str", "int"))
BRIEF_SEEN = StateSchema("brief seen", "map", 1, ("str", "int", "expiring"))
CALLS = StateSchema("calls", "local", 1, ("str",))
SCHEMAS = (TOTALS, BRIEF, WINDOWS, SEEN, BRIEF_SEEN, CALLS)


def ascending(entries: list[RawEntry]) -> list[RawEntry]:
    return sorted(entries, key=lambda entry: database_key(entry[0], entry[1], GROUPS))


def some(schema: StateSchema, count: int) -> list[RawEntry]:
    """Entries of a state, in order."""
    middles: dict[str, Any] = {"window": lambda n: (n % 3 - 1) * 60_000, "map": lambda n: encode_key(f"m{n % 2}")}
    middle = middles.get(schema.kind, lambda n: None)
    values: dict[str, Any] = {"brief": ("x", 7), "brief seen": 7, "windows": [1, 2]}
    value = values.get(schema.name, 5)
    if "expiring" in schema.types:
        value = (1_000_000, value)
    return ascending([(encode_key(f"key{n}"), middle(n), encode(value)) for n in range(count)])


@pytest.fixture
def snapshot() -> StoreSnapshot:
    """What the files are files of."""
    return StoreSnapshot(portable.BACKEND, "count", 3, (0, GROUPS), SCHEMAS)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few entries and files of a few blocks."""
    monkeypatch.setattr(portable, "BLOCK_BYTES", 100)
    monkeypatch.setattr(portable, "FILE_BYTES", 300)


def written(snapshot: StoreSnapshot, folder: Path, count: int = 100) -> StoreSnapshot:
    """The snapshot with its files written."""
    writer = StateWriter(snapshot, folder, GROUPS)
    for schema in SCHEMAS[:-1]:
        writer.write(schema, some(schema, count))
    writer.write_items(CALLS, [encode(f"call {n}") for n in range(count)])
    return msgspec.structs.replace(snapshot, details={"max_parallelism": GROUPS, "files": writer.files})


@pytest.mark.parametrize("schema", SCHEMAS[:-1], ids=lambda schema: schema.name)
def test_what_was_written_is_read(schema: StateSchema, snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """Every entry, byte for byte, in order, from several files."""
    snapshot = written(snapshot, tmp_path)
    assert snapshot.details["files"][schema.name] > 1
    assert list(PortableFiles(snapshot, tmp_path).entries(schema.name)) == some(schema, 100)


def test_items_of_a_local_list_keep_their_order(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """They have no keys."""
    snapshot = written(snapshot, tmp_path)
    assert PortableFiles(snapshot, tmp_path).items("calls") == [encode(f"call {n}") for n in range(100)]


def test_a_state_without_entries_has_no_file(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """And is read as empty."""
    snapshot = written(snapshot, tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
    assert list(PortableFiles(snapshot, tmp_path).entries("totals")) == []
    assert PortableFiles(snapshot, tmp_path).items("calls") == []


@pytest.mark.parametrize("wanted", [(range(3, 9), GROUPS), (range(5), 7), (range(0), GROUPS)], ids=str)
def test_only_the_key_groups_that_are_wanted_are_given(
    wanted: tuple[range, int], snapshot: StoreSnapshot, tmp_path: Path
) -> None:
    """Of the number that was written, or of another."""
    snapshot = written(snapshot, tmp_path)
    found = list(PortableFiles(snapshot, tmp_path).entries("windows", wanted))
    assert found == [entry for entry in some(WINDOWS, 100) if key_group(entry[0], wanted[1]) in wanted[0]]


def test_files_whose_key_groups_are_not_wanted_are_not_read(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """Their header says so: what follows it may be anything."""
    snapshot = written(snapshot, tmp_path)
    last = tmp_path / file_name(0, snapshot.details["files"]["totals"] - 1)
    head = last.read_bytes().split(b"\n")[0]
    last.write_bytes(head + b"\nnonsense")
    first = json.loads(head)["key_groups"][0]
    files = PortableFiles(snapshot, tmp_path)
    assert list(files.entries("totals", (range(first), GROUPS)))
    with pytest.raises(StateError, match="a block is cut short"):
        list(files.entries("totals", (range(first, GROUPS), GROUPS)))


def test_a_header_says_all_there_is_to_know(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """In JSON, in the first line."""
    written(snapshot, tmp_path, 2)
    header = json.loads((tmp_path / file_name(4, 0)).read_bytes().split(b"\n")[0])
    assert header == {
        "format": "tidegate-state",
        "format_version": 1,
        "operator": "count",
        "subtask": 3,
        "state": "brief seen",
        "kind": "map",
        "version": 1,
        "types": ["str", "int", "expiring"],
        "fields": ["key", "map_key", "expires_at_ms", "value"],
        "max_parallelism": GROUPS,
        "key_groups": header["key_groups"],
        "entries": 2,
    }
    groups = sorted(key_group(encode_key(f"key{n}"), GROUPS) for n in range(2))
    assert header["key_groups"] == [groups[0], groups[-1] + 1]


def test_the_key_groups_of_the_files_of_a_state_ascend(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """A group may go on in the next file."""
    snapshot = written(snapshot, tmp_path)
    ranges = [
        json.loads((tmp_path / file_name(0, index)).read_bytes().split(b"\n")[0])["key_groups"]
        for index in range(snapshot.details["files"]["totals"])
    ]
    assert all(before[1] - 1 <= after[0] for before, after in itertools.pairwise(ranges))


def test_a_missing_file_is_named(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """Nothing is taken for the whole that is not."""
    snapshot = written(snapshot, tmp_path)
    (tmp_path / file_name(0, 1)).unlink()
    with pytest.raises(StateError, match=rf"{file_name(0, 1)} cannot be read: it is missing"):
        list(PortableFiles(snapshot, tmp_path).entries("totals"))


def test_a_newer_format_is_refused(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """Not guessed at."""
    snapshot = written(snapshot, tmp_path, 1)
    path = tmp_path / file_name(0, 0)
    path.write_bytes(path.read_bytes().replace(b'"format_version":1', b'"format_version":2', 1))
    with pytest.raises(StateError, match="update Tidegate"):
        list(PortableFiles(snapshot, tmp_path).entries("totals"))


def test_a_file_of_another_state_is_refused(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """What a file says about itself must be what the manifest says about it."""
    snapshot = written(snapshot, tmp_path, 1)
    (tmp_path / file_name(0, 0)).write_bytes((tmp_path / file_name(3, 0)).read_bytes())
    with pytest.raises(StateError, match="it holds 'seen' and not 'totals'"):
        list(PortableFiles(snapshot, tmp_path).entries("totals"))


def _damages(data: bytes) -> Iterator[bytes]:
    start = data.index(b"\n") + 1
    for index in range(start, len(data)):
        yield data[:index] + bytes([data[index] ^ 0x10]) + data[index + 1 :]
    for length in range(start, len(data)):
        yield data[:length]


def test_a_damaged_block_is_told_even_without_the_manifest(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """One bit at any place behind the header, or the file cut anywhere: an error, never other entries."""
    snapshot = written(snapshot, tmp_path, 8)
    path = tmp_path / file_name(0, 0)
    files = PortableFiles(snapshot, tmp_path)
    for damaged in _damages(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(StateError, match=path.name):
            list(files.entries("totals"))


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (TOTALS, ("key", "value")),
        (BRIEF, ("key", "expires_at_ms", "value")),
        (WINDOWS, ("key", "time_ms", "value")),
        (SEEN, ("key", "map_key", "value")),
        (CALLS, ("value",)),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_the_fields_say_what_an_entry_consists_of(schema: StateSchema, fields: tuple[str, ...]) -> None:
    """By kind, and with a time to live when it ends."""
    assert fields_of(schema) == fields


def test_unknown_members_of_a_header_are_ignored(snapshot: StoreSnapshot, tmp_path: Path) -> None:
    """A later version may add some."""
    snapshot = written(snapshot, tmp_path, 1)
    path = tmp_path / file_name(0, 0)
    path.write_bytes(path.read_bytes().replace(b"{", b'{"later":[1],', 1))
    assert list(PortableFiles(snapshot, tmp_path).entries("totals")) == some(TOTALS, 1)


def test_members_of_the_header_stand_in_the_reference() -> None:
    """And so does the format's name."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "savepoint-format.md").read_text()
    missing = [name for name in Header.__struct_fields__ if f"`{name}`" not in page]
    assert missing == []
    assert f"`{portable.FORMAT}`, {portable.FORMAT_VERSION}." in page
