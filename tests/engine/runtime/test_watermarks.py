"""The arithmetic of watermarks, against one record at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.runtime.bounds import Bounds
from tidegate.engine.runtime.watermarks import InputWatermarks, SplitWatermark, lowest
from tidegate.operators import Watermarks
from tidegate.operators.time import MIN_WATERMARK

times = st.lists(st.integers(0, 60), min_size=1, max_size=30)


def _advance(split: SplitWatermark, timestamps: list[int]) -> list[tuple[int, int]]:
    return split.advance(timestamps, timestamps, Bounds(timestamps, block=4))


def _oracle(timestamps: list[int], slack: int, start: int) -> tuple[list[int], int]:
    """The watermark before each record, and the last one."""
    marks = [start]
    for timestamp in timestamps:
        marks.append(max(marks[-1], timestamp - slack - 1))
    return marks[:-1], marks[-1]


@given(times, st.integers(0, 20), st.sampled_from([MIN_WATERMARK, 10]))
def test_the_watermark_after_a_batch_is_that_of_its_records_one_by_one(timestamps, slack, start):
    """The highest timestamp, less the out-of-orderness, less a millisecond; it never goes back."""
    split = SplitWatermark(Watermarks(out_of_orderness=f"{slack}ms"), start)
    marks, last = _oracle(timestamps, slack, start)
    assert split.running(timestamps, timestamps) == marks
    _advance(split, timestamps)
    assert split.watermark_ms == last


@given(times, st.integers(0, 20), st.sampled_from([MIN_WATERMARK, 10]))
def test_a_batch_is_cut_wherever_a_record_can_tell_the_difference(timestamps, slack, start):
    """A record that is behind the watermark of those before it sees just that watermark, any other sees a lower one."""
    split = SplitWatermark(Watermarks(out_of_orderness=f"{slack}ms"), start)
    marks, _ = _oracle(timestamps, slack, start)
    cuts = dict(_advance(split, timestamps))
    told = start
    for index, (timestamp, mark) in enumerate(zip(timestamps, marks, strict=True)):
        told = cuts.get(index, told)
        assert (timestamp <= told) == (timestamp <= mark), (index, cuts)
        assert told <= mark


def test_a_strategy_of_the_users_sees_every_record_in_order():
    """It is asked per record, restored once, and never lowers the watermark."""
    calls = []

    class Steps:
        def observe(self, timestamp_ms, value):
            calls.append(timestamp_ms)
            return timestamp_ms - 5

        def restore(self, watermark_ms):
            calls.append(("restore", watermark_ms))

    split = SplitWatermark(Watermarks(strategy=Steps), 20)
    _advance(split, [30, 10, 40])
    assert calls == [("restore", 20), 30, 10, 40]
    assert split.watermark_ms == 35


def test_time_moves_only_a_watermark_that_there_is():
    """Before the first record there is nothing to move on from."""
    split = SplitWatermark(Watermarks())
    split.pass_time(1000)
    assert split.watermark_ms == MIN_WATERMARK
    _advance(split, [100])
    split.pass_time(1000)
    assert split.watermark_ms == 1099


def test_the_lowest_active_input_counts():
    """Idle inputs are left out; when all are idle, the lowest that there is counts."""
    assert lowest([(5, False), (3, True), (9, False)]) == 5
    assert lowest([(5, True), (3, True)]) == 3
    assert lowest([(5, True), (MIN_WATERMARK, True)]) == 5
    assert lowest([(5, True), (MIN_WATERMARK, False)]) == MIN_WATERMARK
    assert lowest([]) == MIN_WATERMARK


def test_an_input_that_wakes_up_does_not_take_the_merged_watermark_back():
    """What was told stays told."""
    inputs = InputWatermarks([False, False])
    inputs.update(0, 50)
    assert inputs.set_idle(1) == 50
    inputs.set_active(1)
    assert inputs.update(1, 20) is None
    assert inputs.merged == 50
    assert inputs.update(0, 70) is None
    assert inputs.update(1, 60) == 60


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 50), min_size=1, max_size=5)), max_size=8),
    idle=st.sampled_from([None, 0, 1, 2]),
)
def test_before_each_record_all_inputs_have_come_so_far(steps, idle):
    """The watermark before a record is the lowest of its own sender's and those of the active others, and never falls."""
    inputs = InputWatermarks([False] * 3)
    marks = [MIN_WATERMARK] * 3
    if idle is not None:
        inputs.set_idle(idle)
    for channel, running in steps:
        running = sorted(max(mark, marks[channel]) for mark in running)
        inputs.set_active(channel)
        others = [marks[n] for n in range(3) if n != channel and not inputs.idle_channels[n]]
        assert inputs.hold_back(channel, running) == [max(inputs.merged, min([mark, *others])) for mark in running]
        marks[channel] = running[-1]
        inputs.update(channel, running[-1])


def test_inputs_that_are_restored_stand_where_they_stood():
    """Also where the merged watermark had been raised while an input was idle that is not any more."""
    inputs = InputWatermarks([False, False])
    inputs.restore(100, [100, 30], [False, False])
    assert (inputs.merged, inputs.all_idle) == (100, False)
    assert inputs.update(1, 90) is None
    assert inputs.hold_back(0, [110, 120]) == [100, 100]
    assert inputs.update(1, 130) is None
    assert inputs.update(0, 120) == 120
