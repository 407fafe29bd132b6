"""What is in flight, recorded and read back."""

from __future__ import annotations

import pytest
from tidegate.engine.errors import CheckpointError, StateError
from tidegate.engine.runtime.elements import Barrier, EndOfStream, Idle, Watermark
from tidegate.engine.runtime.recording import (
    FILE_NAME,
    InputEdge,
    Recording,
    UnrecordableChannelError,
    read_recording,
)
from tidegate.engine.runtime.watermarks import InputWatermarks
from tidegate.operators.batch import Batch, Origin

EDGES = [InputEdge("the way from 'a' to 'c'", 2, {}), InputEdge("the way from 'b' to 'c'", 1, {})]


@pytest.fixture
def recording():
    """Of checkpoint 7, on two channels of one edge and one of another."""
    inputs = InputWatermarks([False, False, True])
    inputs.update(0, 50)
    inputs.update(1, 30)
    return Recording(7, EDGES, inputs)


def test_elements_come_back_in_their_order_with_all_that_batches_carry(recording, tmp_path):
    """Channel by channel; watermarks and idleness stand where they stood."""
    recording.add(0, Batch([1, 2], [10, 20], ["x", "y"], [5, 6], Origin("split-3", [100, 101])))
    recording.add(0, Watermark(60))
    recording.add(2, Batch([(3, None)]))
    recording.add(0, Idle())
    recording.add(0, Batch(["text"]))
    for channel in range(3):
        recording.close(channel)
    written = recording.write("c", 1, tmp_path / "folder")
    assert (written.receiver, written.subtask, written.records, written.files) == ("c", 1, 4, (FILE_NAME,))
    first, second, third = read_recording(tmp_path / "folder" / FILE_NAME, EDGES)
    assert second == []
    assert first[1:3] == [Watermark(60), Idle()]
    assert [batch.values for batch in (first[0], first[3], third[0])] == [[1, 2], ["text"], [(3, None)]]
    assert (first[0].timestamps, first[0].keys, first[0].watermarks) == ([10, 20], ["x", "y"], [5, 6])
    # Which record of the split it was is not kept.
    assert first[0].locate(1) == ("split-3", None)
    assert third[0].locate(0) == (None, None)


def test_what_the_subtask_had_heard_stands_beside_it(recording, tmp_path):
    """As it was when the recording began, for what is in flight is judged by that."""
    for channel in range(3):
        recording.close(channel)
    written = recording.write("c", 0, tmp_path / "folder")
    assert (written.watermark_ms, written.watermarks[:2], written.idle) == (30, (50, 30), (False, False, True))


def test_where_nothing_is_in_flight_there_is_no_file(recording, tmp_path):
    """A barrier that had nothing before it leaves nothing behind."""
    for channel in range(3):
        recording.close(channel)
    assert recording.write("c", 0, tmp_path / "folder").files == ()
    assert not (tmp_path / "folder").exists()


def test_it_ends_with_the_last_barrier(recording):
    """What comes on a channel after its barrier is not part of it, nor are barriers and ends."""
    recording.close(0)
    recording.add(0, Batch([1]))
    recording.add(1, Barrier(6))
    recording.add(1, EndOfStream())
    recording.close(2)
    assert not recording.ended.is_set()
    recording.add(1, Batch([2]))
    recording.close(1)
    assert recording.ended.is_set()
    assert recording.records == 1


def test_it_is_given_up_once_and_not_after_its_end(recording):
    """Whoever waits for it hears why."""
    recording.fail(CheckpointError("no longer wanted"))
    recording.add(0, Batch([1]))
    assert recording.ended.is_set()
    assert str(recording.failure) == "no longer wanted"
    whole = Recording(8, EDGES[1:], InputWatermarks([False]))
    whole.close(0)
    whole.fail(CheckpointError("too late"))
    assert whole.failure is None


def test_a_record_that_cannot_be_recorded_is_named_with_its_edge(recording):
    """The type and the way it was on, for the log."""
    with pytest.raises(
        UnrecordableChannelError, match=r"type builtins\.object are in flight on the way from 'b' to 'c'"
    ):
        recording.add(2, Batch([object()]))
    with pytest.raises(UnrecordableChannelError, match=r"the way from 'a' to 'c'"):
        recording.add(1, Batch([1], keys=[object()]))


def test_later_changes_of_a_record_are_not_part_of_it(recording, tmp_path):
    """A record is worked on while the recording goes on."""
    value = {"seen": 1}
    recording.add(0, Batch([value]))
    value["seen"] = 2
    for channel in range(3):
        recording.close(channel)
    recording.write("c", 0, tmp_path / "folder")
    assert read_recording(tmp_path / "folder" / FILE_NAME, EDGES)[0][0].values == [{"seen": 1}]


def test_a_folder_that_cannot_be_written_is_an_error_of_the_checkpoint(recording, tmp_path):
    """The checkpoint fails; nothing half written is left."""
    recording.add(0, Batch([1]))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"in flight cannot be written to .*file/folder: .*; free space"):
        recording.write("c", 0, tmp_path / "file" / "folder")


def test_a_file_that_is_no_recording_is_refused(tmp_path):
    """By its name."""
    (tmp_path / FILE_NAME).write_bytes(b"\x01")
    with pytest.raises(StateError, match=r"cannot be read from .*in-flight\.msgpack"):
        read_recording(tmp_path / FILE_NAME, EDGES)
