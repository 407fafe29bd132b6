"""What is on its way to a subtask when a barrier overtakes it: kept as part of the checkpoint, and put back at a restore."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from ...operators.batch import Batch, Origin
from ..errors import CheckpointError, StateError
from .elements import Element, Idle, Watermark
from .recorded_values import RecordedList, RecordedType, UnrecordableError, ValuesDecoder, ValuesEncoder
from .watermarks import InputWatermarks

FILE_NAME: Final = "in-flight.msgpack"


class RecordedBatch(msgspec.Struct, array_like=True, frozen=True, tag="batch"):
    """A batch. Of where its records came from the split is kept, not the offset of each."""

    values: RecordedList
    timestamps: list[int] | None
    keys: RecordedList | None
    watermarks: list[int] | None
    split: str | None


class RecordedWatermark(msgspec.Struct, array_like=True, frozen=True, tag="watermark"):
    """A watermark."""

    timestamp_ms: int


class RecordedIdle(msgspec.Struct, array_like=True, frozen=True, tag="idle"):
    """The sender went idle."""


class RecordedEdge(msgspec.Struct, frozen=True):
    """One edge into the subtask: the classes of its values, and for each of its channels the elements in order."""

    types: list[RecordedType]
    channels: list[list[RecordedBatch | RecordedWatermark | RecordedIdle]]


class RecordingFile(msgspec.Struct, frozen=True):
    """The content of the file: msgpack."""

    edges: list[RecordedEdge]


_decode_file = msgspec.msgpack.Decoder(RecordingFile).decode


@dataclass(frozen=True)
class InputEdge:
    """An edge into a subtask, as its recording needs it.

    Attributes:
        title: what messages call it.
        channels: how many of its channels lead into the subtask.
        record_types: the record types of the topology by operator id.
    """

    title: str
    channels: int
    record_types: Mapping[str, Any]


@dataclass(frozen=True)
class InFlightFiles:
    """A finished recording on local disk.

    Attributes:
        watermark_ms: the watermark that the subtask had told its operators when its snapshot was taken.
        watermarks: the watermark of each of its input channels then.
        idle: whether each was idle then.
        records: how many records are in it.
        directory: where the files are; deleted after the upload.
        files: names relative to `directory`; none when nothing was in flight.
        immutable: see `SnapshotFiles.immutable`; none are.
    """

    receiver: str
    subtask: int
    watermark_ms: int
    watermarks: tuple[int, ...]
    idle: tuple[bool, ...]
    records: int
    directory: Path
    files: tuple[str, ...]
    immutable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RestoredInputs:
    """What a subtask had heard of its inputs when its snapshot was taken, and what was on its way to it.

    Attributes:
        watermark_ms: the watermark that its operators had been told.
        watermarks: per channel its watermark.
        idle: per channel whether it was idle.
        elements: per channel what comes before everything that its sender sends anew.
    """

    watermark_ms: int
    watermarks: Sequence[int]
    idle: Sequence[bool]
    elements: Sequence[Sequence[Element]]


class Recording:
    """What is on the input channels of one subtask between its snapshot and the barriers.

    A channel is open until its barrier has come; what comes on it before that belongs to the checkpoint. Batches are encoded
    when they are added, for whoever works on the records may change them later.

    Args:
        checkpoint_id: the checkpoint.
        edges: the edges into the subtask, in the order of its channels.
        inputs: what the subtask has heard of its inputs.

    Attributes:
        ended: set once all barriers have come, or it has failed.
        failure: why it cannot be used.
        records: how many records are in it.
    """

    def __init__(self, checkpoint_id: int, edges: Sequence[InputEdge], inputs: InputWatermarks) -> None:
        self.checkpoint_id = checkpoint_id
        self.ended = asyncio.Event()
        self.failure: Exception | None = None
        self.records = 0
        self._watermark_ms = inputs.merged
        self._watermarks = tuple(inputs.marks)
        self._idle = tuple(inputs.idle_channels)
        self._encoders = [ValuesEncoder(edge.record_types) for edge in edges]
        self._edge_of = [number for number, edge in enumerate(edges) for _ in range(edge.channels)]
        self._titles = [edge.title for edge in edges]
        self._elements: list[list[RecordedBatch | RecordedWatermark | RecordedIdle]] = [[] for _ in self._edge_of]
        self._open = set(range(len(self._edge_of)))

    def add(self, channel: int, element: Element) -> None:
        """An element that came before the barrier of its channel. Only batches, watermarks and idleness are kept: barriers of
        checkpoints that were given up mean nothing any more, and a sender whose stream has ended says so again.

        Raises:
            UnrecordableChannelError: a record would not come back as it is.
        """
        if channel not in self._open:
            return
        elements, edge = self._elements[channel], self._edge_of[channel]
        if isinstance(element, Batch):
            encoder = self._encoders[edge]
            try:
                values = encoder.encode(element.values)
                keys = None if element.keys is None else encoder.encode(element.keys)
            except UnrecordableError as error:
                raise UnrecordableChannelError(self._titles[edge], error.type_name) from error
            split = None if element.origin is None else element.origin.split_id
            elements.append(RecordedBatch(values, element.timestamps, keys, element.watermarks, split))
            self.records += len(element)
        elif isinstance(element, Watermark):
            elements.append(RecordedWatermark(element.timestamp_ms))
        elif isinstance(element, Idle):
            elements.append(RecordedIdle())

    def close(self, channel: int) -> None:
        """The barrier has come on a channel."""
        self._open.discard(channel)
        if not self._open:
            self.ended.set()

    def fail(self, error: Exception) -> None:
        """It is not wanted any more, or cannot be made."""
        if not self.ended.is_set():
            self.failure = error
            self._elements.clear()
            self._open.clear()
            self.ended.set()

    def write(self, receiver: str, subtask: int, directory: Path) -> InFlightFiles:
        """Write what was recorded. Blocking; runs in the executor, once it has ended.

        Raises:
            CheckpointError: the file cannot be written.
        """
        files: tuple[str, ...] = ()
        if any(self._elements):
            channels = iter(self._elements)
            recorded = RecordingFile(
                [
                    RecordedEdge(encoder.types, [next(channels) for _ in range(self._edge_of.count(number))])
                    for number, encoder in enumerate(self._encoders)
                ]
            )
            try:
                directory.mkdir(parents=True)
                (directory / FILE_NAME).write_bytes(msgspec.msgpack.encode(recorded))
            except OSError as error:
                shutil.rmtree(directory, ignore_errors=True)
                raise CheckpointError(
                    f"what is in flight cannot be written to {directory}: {error.strerror or error}; free space there, or "
                    "make it writable"
                ) from error
            files = (FILE_NAME,)
        return InFlightFiles(
            receiver, subtask, self._watermark_ms, self._watermarks, self._idle, self.records, directory, files
        )


class UnrecordableChannelError(Exception):
    """A record on an edge cannot be part of a checkpoint.

    Attributes:
        edge: the edge's title.
        type_name: the type of the value.
    """

    def __init__(self, edge: str, type_name: str) -> None:
        self.edge = edge
        self.type_name = type_name
        super().__init__(
            f"records of type {type_name} are in flight on {edge} and would not come back from a file as they are"
        )


def read_recording(path: Path, edges: Sequence[InputEdge]) -> list[list[Element]]:
    """What was recorded, per channel and in order. Blocking; runs in the executor.

    Args:
        path: the file.
        edges: the edges as they stand in the checkpoint, the record types under the names that they have there.

    Raises:
        StateTypeError: a type of the records has changed; names the edge, the difference and the remedy.
        StateError: the file cannot be read.
    """
    try:
        recorded = _decode_file(path.read_bytes())
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(f"records in flight cannot be read from {path}: {error}") from error
    found: list[list[Element]] = []
    for edge, stored in zip(edges, recorded.edges, strict=True):
        decoder = ValuesDecoder(stored.types, edge.record_types, edge.title)
        found += [[_restored(element, decoder) for element in channel] for channel in stored.channels]
    return found


def _restored(element: RecordedBatch | RecordedWatermark | RecordedIdle, decoder: ValuesDecoder) -> Element:
    if isinstance(element, RecordedWatermark):
        return Watermark(element.timestamp_ms)
    if isinstance(element, RecordedIdle):
        return Idle()
    return Batch(
        decoder.decode(element.values),
        element.timestamps,
        None if element.keys is None else decoder.decode(element.keys),
        element.watermarks,
        None if element.split is None else Origin(element.split, None),
    )
