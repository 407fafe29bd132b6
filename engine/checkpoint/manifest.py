"""The manifest: the file that makes a checkpoint exist."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from ...connectors.source import Split
from ..errors import CheckpointError
from ..state.backend import StoreSnapshot

FORMAT: Final = "tidegate-checkpoint"
FORMAT_VERSION: Final = 2

_SEAL: Final = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n\Z')
_CHECKPOINT_ID: Final = re.compile(rb'"checkpoint_id":(\d{1,18})[,}]')
_PLAIN_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[^/\\\0]+")


class ManifestDamage(Exception):
    """The bytes are not a whole manifest. Says what is wrong; who read them knows which file it was."""


class FileEntry(msgspec.Struct, frozen=True):
    """One file of a snapshot; its content lies in the storage under `sha256`, shared between checkpoints.

    Attributes:
        name: what the state backend calls it: relative to the snapshot's directory.
        size: in bytes.
        sha256: of the content, 64 hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


class SubtaskState(msgspec.Struct, frozen=True):
    """The state of one operator in one subtask: the description, and the files it consists of."""

    snapshot: StoreSnapshot
    files: tuple[FileEntry, ...] = ()


class OperatorEntry(msgspec.Struct, frozen=True):
    """One stateful operator.

    Attributes:
        kind: the operator's kind (`window`, `process`…): another kind under the same id is another operator.
        parallelism: how many subtasks it had.
        subtasks: one entry per subtask that has state.
    """

    kind: str
    parallelism: int
    subtasks: tuple[SubtaskState, ...] = ()


class SplitEntry(msgspec.Struct, frozen=True):
    """How far one split of a source was read.

    Attributes:
        split: the split itself, so that a restore needs no discovery to find it again.
        offset: where to go on; opaque JSON. None: at the beginning.
        ended: the split has no more records, ever.
        watermark_ms: the split's own watermark.
        records: how many records were read from it since the job began.
        idle: it had had nothing for the idle timeout, and held no watermark back.
    """

    split: Split
    offset: Any
    ended: bool
    watermark_ms: int
    records: int
    idle: bool = False


class InFlightEdge(msgspec.Struct, frozen=True):
    """An edge whose channels lead to an operator.

    Attributes:
        upstream: the operator or source that it leaves.
        tag: the side output that it leaves by; None for the main output.
        input: which input of the receiver it leads to.
        partitioner: how records choose a channel.
        senders: how many channels of it lead into each subtask.
    """

    upstream: str
    tag: str | None
    input: int
    partitioner: str
    senders: int


class InFlightSubtask(msgspec.Struct, frozen=True):
    """What was on its way to one subtask.

    Attributes:
        subtask: which one.
        watermark_ms: the watermark that it had told its operators when its snapshot was taken.
        watermarks: the watermark of each of its channels then, those of the first edge first.
        idle: whether each was idle then.
        records: how many records are in the files.
        files: the file with the records; none where there are none.
    """

    subtask: int
    watermark_ms: int
    watermarks: tuple[int, ...]
    idle: tuple[bool, ...]
    records: int = 0
    files: tuple[FileEntry, ...] = ()


class InFlightEntry(msgspec.Struct, frozen=True):
    """What was on its way to one operator, which heads a chain.

    Attributes:
        parallelism: how many subtasks it had.
        edges: what led to it, in the order of the channels.
        subtasks: those whose snapshots were taken before all barriers had come.
    """

    parallelism: int
    edges: tuple[InFlightEdge, ...]
    subtasks: tuple[InFlightSubtask, ...] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A complete checkpoint or savepoint.

    The file is one JSON object in UTF-8 and a line feed. Its members stand in the order of the attributes
    below, maps are sorted by key, there is no white space. The last member is `sha256`: the SHA-256 of the
    same object without that member. It holds for every version of the format, so damage is told apart from a
    newer version. All members are always written. A reader takes members of its own version only and ignores
    unknown ones.

    Attributes:
        format: always `tidegate-checkpoint`.
        format_version: 2 where records are in flight, else 1, which older readers know. A greater number than the reader
            knows is refused, not guessed at.
        job: name of the job.
        topology: name of the topology.
        topology_version: the version that the user gave to it.
        fingerprint: of the topology's shape; tells at a glance whether it changed.
        checkpoint_id: increasing in the job, over checkpoints and savepoints.
        attempt: the start of the job that wrote it.
        kind: `checkpoint`: retention deletes it. `savepoint`: the user does.
        name: the savepoint's name; None for a checkpoint.
        triggered_at_ms: when the coordinator opened it, milliseconds since 1970 UTC.
        completed_at_ms: when the last subtask had acknowledged.
        durations_ms: phase → milliseconds, as measured by the coordinator (`alignment`, `snapshot`,
            `upload`…).
        max_parallelism: number of key groups.
        operators: operator id → its state.
        sources: operator id → split id → how far it was read.
        committables: operator id of a sink → what commits its prepared output; made visible after the
            manifest exists.
        restored_from: the checkpoint that the attempt started from; None for a start from nothing.
        finished: the streams had come to their end: every window has fired, and nothing can be added.
        first: none was complete before it since the job began from nothing, so no output was visible then.
        in_flight: operator id → what was on its way to it; empty unless barriers have overtaken records.
    """

    format: str = FORMAT
    format_version: int = 1
    job: str
    topology: str
    topology_version: str
    fingerprint: str
    checkpoint_id: int
    attempt: int
    kind: Literal["checkpoint", "savepoint"] = "checkpoint"
    name: str | None = None
    triggered_at_ms: int
    completed_at_ms: int
    durations_ms: dict[str, int] = {}
    max_parallelism: int
    operators: dict[str, OperatorEntry] = {}
    sources: dict[str, dict[str, SplitEntry]] = {}
    committables: dict[str, list[dict[str, Any]]] = {}
    restored_from: int | None = None
    finished: bool = False
    first: bool = False
    in_flight: dict[str, InFlightEntry] = {}

    @property
    def title(self) -> str:
        """What messages call it: `checkpoint 7`, `savepoint 'before-deploy'`."""
        return f"checkpoint {self.checkpoint_id}" if self.name is None else f"savepoint {self.name!r}"

    def files(self) -> Iterator[FileEntry]:
        """Every file of every subtask; the same content may come more than once."""
        for operator in self.operators.values():
            for subtask in operator.subtasks:
                yield from subtask.files
        yield from self.in_flight_files()

    def in_flight_files(self) -> Iterator[FileEntry]:
        """Those of `files` that hold records in flight."""
        for entry in self.in_flight.values():
            for subtask in entry.subtasks:
                yield from subtask.files

    def contents(self) -> dict[str, int]:
        """SHA-256 → size of every content it names."""
        return {entry.sha256: entry.size for entry in self.files()}

    @property
    def in_flight_records(self) -> int:
        """How many records were in flight."""
        return sum(subtask.records for entry in self.in_flight.values() for subtask in entry.subtasks)

    @property
    def in_flight_bytes(self) -> int:
        """Size of the files with records in flight."""
        return sum(file.size for file in self.in_flight_files())

    @property
    def state_bytes(self) -> int:
        """Size of all contents, those shared between files counted once."""
        return sum(self.contents().values())


class _Head(msgspec.Struct):
    format: str
    format_version: int


_HEAD = msgspec.json.Decoder(_Head)
_MANIFEST = msgspec.json.Decoder(Manifest)


def encode(manifest: Manifest) -> bytes:
    """The manifest's file: the same manifest gives the same bytes."""
    body = msgspec.json.encode(manifest, order="deterministic")
    return b'%b,"sha256":"%b"}\n' % (body[:-1], hashlib.sha256(body).hexdigest().encode())


def decode(data: bytes) -> Manifest:
    """The manifest in a file's bytes.

    Raises:
        ManifestDamage: the bytes are not what was written.
        CheckpointError: they are whole, but of a version that this program does not know.
    """
    seal = _SEAL.search(data)
    if seal is None:
        raise ManifestDamage(
            f"it does not end in a checksum; {len(data)} bytes are there, so it was cut or overwritten"
        )
    body = data[: seal.start()] + b"}"
    if hashlib.sha256(body).hexdigest().encode() != seal[1]:
        raise ManifestDamage("its content does not match its checksum")
    try:
        head = _HEAD.decode(body)
        if head.format != FORMAT:
            raise CheckpointError(f"it is no checkpoint of Tidegate, its format is {head.format!r}")
        if head.format_version > FORMAT_VERSION:
            raise CheckpointError(
                f"it was written in format {head.format_version} by a newer Tidegate and this one reads "
                f"formats up to {FORMAT_VERSION}: update Tidegate"
            )
        manifest = _MANIFEST.decode(body)
    except msgspec.MsgspecError as error:
        raise ManifestDamage(f"it is no manifest: {error}") from error
    for entry in manifest.files():
        if not all(_PLAIN_NAME.fullmatch(part) for part in entry.name.split("/")):
            raise ManifestDamage(f"it names a file outside its folder: {entry.name!r}")
        if len(entry.sha256) != 64 or not set(entry.sha256) <= set("0123456789abcdef"):
            raise ManifestDamage(f"the checksum of {entry.name!r} is no SHA-256: {entry.sha256!r}")
    return manifest


def salvage_checkpoint_id(data: bytes) -> int | None:
    """The checkpoint id in a damaged manifest, as far as it can be read: only good for not using it again."""
    match = _CHECKPOINT_ID.search(data)
    return None if match is None else int(match[1])
