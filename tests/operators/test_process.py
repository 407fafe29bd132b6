"""User functions with state, timers and side outputs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.errors import Retry
from tidegate.operators.process import (
    KeyedProcess,
    Process,
    ProcessContext,
    ProcessFunction,
    TimedProcess,
    process_operator,
)
from tidegate.operators.state import ListState, StateDescriptor, ValueState
from tidegate.operators.time import MAX_WATERMARK

BACKENDS: list[Literal["dict", "rocksdb"]] = ["dict", "rocksdb"]


class Numbered(ProcessFunction[str, tuple[Any, int, str]]):
    """Numbers the records of each key; "bad" fails after it has given out something."""

    COUNT = ValueState("count", int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return [self.COUNT]

    def open(self, context: ProcessContext) -> None:
        self.count = context.state(self.COUNT)

    def process(self, value: str, context: ProcessContext) -> Iterator[tuple[Any, int, str]]:
        n = (self.count.get() or 0) + 1
        if value == "bad":
            yield (context.key, n, "half")
            context.side_output("odd", "half")
            raise ValueError("bad")
        self.count.set(n)
        if n % 2:
            context.side_output("odd", value)
        yield (context.key, n, value)


class Quiet(ProcessFunction[int, str]):
    """Says "quiet" when a key has not been seen for 10 ms of event time, and what the watermark was."""

    SEEN = ListState("seen", int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return [self.SEEN]

    def open(self, context: ProcessContext) -> None:
        self.seen = context.state(self.SEEN)

    def process(self, value: int, context: ProcessContext) -> Iterable[str]:
        assert context.timestamp_ms is not None
        if self.seen.get():
            context.timers.remove_event(max(self.seen.get()) + 10)
        self.seen.add(context.timestamp_ms)
        context.timers.set_event(max(self.seen.get()) + 10)
        context.side_output("seen", value)
        return [f"{context.key}{value}@{context.watermark_ms}"]

    def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterator[str]:
        assert context.timestamp_ms == timestamp_ms
        yield f"{context.key} quiet with {len(self.seen.get())}@{context.watermark_ms}"
        context.side_output("quiet", context.key)
        self.seen.clear()


class Stateless(ProcessFunction[int, int]):
    """Doubles even numbers and emits odd ones at another time."""

    def process(self, value: int, context: ProcessContext) -> Iterable[int] | None:
        if value % 2:
            context.emit(value, 1000)
            return None
        return [value, value]


@pytest.mark.parametrize("backend", BACKENDS)
def test_state_belongs_to_the_key(backend: Literal["dict", "rocksdb"]) -> None:
    """Handles follow the key of the record, and survive a restore after every step."""
    with OperatorHarness(KeyedProcess(Numbered()), backend=backend, side_outputs=["odd"]) as h:
        h.push(["a", "b", "c"], timestamps=[1, 2, 3], keys=[1, 2, 1]).push(["d"], timestamps=[4], keys=[1])
        assert h.output == [((1, 1, "a"), 1), ((2, 1, "b"), 2), ((1, 2, "c"), 3), ((1, 3, "d"), 4)]
        assert h.keys == [1, 2, 1, 1]
        assert h.side("odd") == ["a", "b", "d"]


def test_a_failed_record_gives_out_nothing() -> None:
    """Results and side outputs of a record that fails half way are taken back; its neighbours stay."""
    operator = KeyedProcess(Numbered(), on_error="dead_letter")
    with OperatorHarness(operator, side_outputs=["odd"]) as h:
        h.push(["a", "bad", "c"], timestamps=[1, 2, 3], keys=[1, 2, 1])
        assert h.output == [((1, 1, "a"), 1), ((1, 2, "c"), 3)]
        assert h.side("odd") == ["a"]
        [letter] = h.side("failed")
        assert (letter.value, letter.error, letter.timestamp_ms) == ("bad", "ValueError: bad", 2)
        assert len(letter.traceback) == 1
        assert letter.traceback[0].endswith("in Numbered.process")


def test_a_failure_names_the_record() -> None:
    """By default the job fails, naming split and offset."""
    with OperatorHarness(KeyedProcess(Numbered())) as h:
        with pytest.raises(OperatorError, match="record at 11 of split s: ValueError: bad"):
            h.node.process(Batch(["a", "bad"], keys=[1, 1], origin=Origin("s", [10, 11])))


def test_without_keys_results_are_returned_or_emitted() -> None:
    """A function returns results, or emits them with a timestamp of its own; None is no result."""
    with OperatorHarness(Process(Stateless())) as h:
        h.push([1, 2, 3], timestamps=[1, 2, 3]).push([4])
        assert h.output == [(1, 1000), (2, 2), (2, 2), (3, 1000), (4, None), (4, None)]


def test_emitting_and_yielding_keep_their_order() -> None:
    """`emit` inside a generator stands between what the generator yields."""

    class Both(ProcessFunction[int, int]):
        def process(self, value: int, context: ProcessContext) -> Iterator[int]:
            for i in range(value):
                yield i
                context.emit(-i, 1000 + i)

    with OperatorHarness(Process(Both())) as h:
        h.push([2, 40], timestamps=[1, 2])
        values, timestamps = [0, 0, 1, -1], [1, 1000, 1, 1001]
        values += [v for i in range(40) for v in (i, -i)]
        timestamps += [t for i in range(40) for t in (2, 1000 + i)]
        assert h.output == list(zip(values, timestamps, strict=True))


def test_results_keep_the_origin_of_their_record() -> None:
    """A later operator that fails on a result can still name the source's record."""
    with OperatorHarness(Process(Stateless())) as h:
        h.node.process(Batch([2, 1, 4], origin=Origin("s", [10, 11, 12])))
        [out] = h._main.batches
        assert [out.locate(i)[1] for i in range(5)] == [10, 10, 11, 12, 12]


@pytest.mark.parametrize("backend", BACKENDS)
def test_timers_fire_when_the_watermark_reaches_them(backend: Literal["dict", "rocksdb"]) -> None:
    """A timer fires once, in order of time, with its time as the timestamp of what it gives."""
    with OperatorHarness(TimedProcess(Quiet()), backend=backend, side_outputs=["quiet", "seen"]) as h:
        h.push([1, 2], timestamps=[5, 3], keys=["a", "b"]).clear()
        assert h.watermark(12).values == []
        assert h.watermark(13).output == [("b quiet with 1@13", 13)]
        assert h.watermark(50).output[1:] == [("a quiet with 1@50", 15)]
        assert h.keys == ["b", "a"]
        assert h.side("quiet") == ["b", "a"]
        assert h.clear().watermark(99).values == []


def test_timers_fire_inside_a_batch() -> None:
    """A timer fires before the first record behind its watermark, and its results stand before that watermark."""
    with OperatorHarness(TimedProcess(Quiet()), side_outputs=["quiet", "seen"]) as h:
        h.push([1, 2, 3], timestamps=[0, 40, 41], keys=["a", "b", "a"], watermarks=[-5, 7, 35])
        assert h.values == ["a1@-5", "b2@7", "a quiet with 1@35", "a3@35"]
        [out] = h._main.batches
        assert out.timestamps == [0, 40, 10, 41]
        assert out.keys == ["a", "b", "a", "a"]
        assert out.watermarks == [-5, 7, 7, 35]
        [sent] = h._sides["quiet"].batches
        assert (sent.values, sent.timestamps, sent.watermarks) == (["a"], [10], [7])


def test_a_timer_for_the_past_fires_right_after_its_record() -> None:
    """A timer that the watermark has passed when it is set does not wait for the next watermark."""
    with OperatorHarness(TimedProcess(Quiet())) as h:
        h.push([1, 2], timestamps=[0, 40], keys=["a", "b"], watermarks=[30, 30])
        assert h.values == ["a1@30", "a quiet with 1@30", "b2@30"]


def test_a_timer_may_set_the_next_one() -> None:
    """A timer set in `on_timer` for a time already reached fires in the same pass."""

    class Chain(ProcessFunction[int, int]):
        def process(self, value: int, context: ProcessContext) -> None:
            context.timers.set_event(value)

        def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterator[int]:
            yield timestamp_ms
            context.timers.set_event(timestamp_ms + 10)

    with OperatorHarness(TimedProcess(Chain())) as h:
        h.push([5], timestamps=[0], keys=["a"]).watermark(30)
        assert h.output == [(5, 5), (15, 15), (25, 25)]
        assert h.watermark(35).values == [5, 15, 25, 35]


def test_processing_timers_fire_by_the_clock() -> None:
    """A processing-time timer fires when the clock has reached it, and survives a restore."""

    class Later(ProcessFunction[str, str]):
        def process(self, value: str, context: ProcessContext) -> None:
            context.timers.set_processing(context.now_ms() + 100)

        def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterator[str]:
            yield f"{context.key} later"

    with OperatorHarness(TimedProcess(Later())) as h:
        start = h.clock.now_ms()
        h.push(["x"], keys=["a"]).advance(99)
        assert h.values == []
        h.advance(1)
        assert h.output == [("a later", start + 100)]
        assert h.advance(1000).values == ["a later"]


def test_processing_timers_fire_when_the_stream_ends() -> None:
    """What waits for the clock is not lost; a timer that sets itself anew does so once."""

    class Ticking(ProcessFunction[str, str]):
        def process(self, value: str, context: ProcessContext) -> None:
            context.timers.set_processing(context.now_ms() + int(value))

        def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterator[str]:
            context.timers.set_processing(timestamp_ms + 1)
            yield context.key

    with OperatorHarness(TimedProcess(Ticking())) as h:
        h.push(["300", "200", "100", "200"], keys=["a", "b", "c", "d"])
        h.node.end()
        assert sorted(h.values[1:3]) == ["b", "d"]
        assert h.values[0::3] == ["c", "a"]


def test_an_error_in_a_timer_names_the_key() -> None:
    """A timer has no record to leave out: the job fails, and the error says which key and time."""

    class Explodes(ProcessFunction[int, int]):
        def process(self, value: int, context: ProcessContext) -> None:
            context.timers.set_event(value)

        def on_timer(self, timestamp_ms: int, context: ProcessContext) -> None:
            raise ValueError("boom")

    with OperatorHarness(TimedProcess(Explodes(), on_error="skip")) as h:
        h.push([5], timestamps=[0], keys=["a"])
        with pytest.raises(OperatorError, match="boom") as raised:
            h.watermark(9)
        assert raised.value.__cause__ is not None
        assert raised.value.__cause__.__notes__ == ["raised by on_timer at 5 for key 'a'"]


def test_subtasks_do_not_share_the_function_object() -> None:
    """`open` is called on a copy, so attributes set there belong to one subtask."""
    function = Numbered()
    with OperatorHarness(KeyedProcess(function)) as one, OperatorHarness(KeyedProcess(function)) as two:
        one.push(["a"], keys=[1])
        two.push(["b"], keys=[1])
        assert (one.values, two.values) == ([(1, 1, "a")], [(1, 1, "b")])
        assert not hasattr(function, "count")


def test_close_reaches_the_function() -> None:
    """The function is closed with its operator."""
    closed = []

    class Closes(ProcessFunction[int, int]):
        def process(self, value: int, context: ProcessContext) -> None:
            return None

        def close(self) -> None:
            closed.append(True)

    with OperatorHarness(Process(Closes()), restore_every_step=False):
        pass
    assert closed == [True]
    Process(Closes()).close()
    assert closed == [True]


def test_the_function_decides_what_the_operator_needs() -> None:
    """Timers cost state, so only a function with `on_timer` gets them."""
    assert type(process_operator(Stateless(), keyed=False)) is Process
    assert type(process_operator(Numbered(), keyed=True)) is KeyedProcess
    assert type(process_operator(Quiet(), keyed=True)) is TimedProcess


def test_timers_without_on_timer_are_a_clear_error() -> None:
    """Setting a timer that nobody would hear of is refused."""

    class Deaf(ProcessFunction[int, int]):
        def process(self, value: int, context: ProcessContext) -> None:
            context.timers.set_event(value)

    with OperatorHarness(KeyedProcess(Deaf())) as h, pytest.raises(OperatorError, match="define on_timer"):
        h.push([1], keys=["a"])


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda v: v, {}, "subclass of ProcessFunction"),
        (Numbered(), {}, "call key_by before process"),
        (Quiet(), {}, "call key_by before process"),
        (Stateless(), {"on_error": "ignore"}, "not known"),
        (Stateless(), {"on_error": Retry()}, "changed state"),
    ],
)
def test_wrong_settings_are_refused(function: Any, options: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the topology is built."""
    with pytest.raises((TypeError, ValueError), match=message):
        process_operator(function, keyed=False, **options)


def test_a_function_without_process_says_so() -> None:
    """A subclass that forgot `process` fails with its name."""
    with OperatorHarness(Process(ProcessFunction[int, int]())) as h, pytest.raises(OperatorError, match="define"):
        h.push([1])


class Everything(ProcessFunction[int, Any]):
    """Uses all there is: state, timers ahead and behind, side outputs, failures, other timestamps."""

    TOTAL = ValueState("total", int)

    def states(self) -> Sequence[StateDescriptor[Any]]:
        return [self.TOTAL]

    def open(self, context: ProcessContext) -> None:
        self.total = context.state(self.TOTAL)

    def process(self, value: int, context: ProcessContext) -> Iterator[Any]:
        total = (self.total.get() or 0) + value
        yield ("record", context.key, value, total, context.watermark_ms)
        if value == 3:
            raise ValueError
        self.total.set(total)
        assert context.timestamp_ms is not None
        context.timers.set_event(context.timestamp_ms + value - 4)
        if value == 5:
            context.emit("moved", 77)
            context.side_output("five", total)

    def on_timer(self, timestamp_ms: int, context: ProcessContext) -> Iterator[Any]:
        total = self.total.get() or 0
        yield ("timer", context.key, timestamp_ms, total, context.watermark_ms)
        if total % 2:
            self.total.set(total + 1)
            context.timers.set_event(timestamp_ms + 2)
        context.side_output("timer", timestamp_ms)


Records = list[tuple[int, str, int, int]]


def with_watermarks(records: list[tuple[int, str, int]], lag: int) -> Records:
    """Each record with the watermark before it: the highest timestamp so far less `lag`."""
    found, high = [], -100
    for value, key, timestamp in records:
        found.append((value, key, timestamp, high - lag))
        high = max(high, timestamp)
    return found


def everything(
    backend: Literal["dict", "rocksdb"], parts: list[Records], last: int, *, told: bool, restore: bool
) -> tuple[Any, ...]:
    """What comes out for batches `parts`. `told`: the engine sends the watermark between them, as it does after
    a restore."""
    operator = TimedProcess(Everything(), on_error="dead_letter")
    with OperatorHarness(
        operator, backend=backend, restore_every_step=restore, side_outputs=["five", "timer"], key_type=str
    ) as h:
        for part in parts:
            values, keys, timestamps, watermarks = (list(column) for column in zip(*part, strict=True))
            if (told or restore) and watermarks[0] > h.node.context.watermark_ms:
                h.watermark(watermarks[0])
            h.push(values, timestamps, keys, watermarks)
        h.watermark(last)
        h.watermark(MAX_WATERMARK)
        marks = [] if restore else [mark for batch in h._main.batches for mark in batch.watermarks or ()]
        letters = [(letter.value, letter.timestamp_ms) for letter in h.side("failed")]
        return h.output, h.keys, letters, h.side("five"), h.side("timer"), marks


@pytest.mark.parametrize(("backend", "examples"), [("dict", 60), pytest.param("rocksdb", 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("restore", [False, True])
def test_batch_boundaries_change_nothing(backend: Literal["dict", "rocksdb"], examples: int, restore: bool) -> None:
    """Timers, state, side outputs, dead letters and watermarks are the same for one batch and for any pieces."""

    @settings(max_examples=examples, deadline=None)
    @given(
        records=st.lists(
            st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.integers(0, 30)), min_size=1, max_size=20
        ),
        cuts=st.lists(st.integers(0, 20), max_size=6).map(sorted),
        lag=st.integers(0, 5),
        told=st.booleans(),
    )
    def check(records: list[tuple[int, str, int]], cuts: list[int], lag: int, told: bool) -> None:
        whole = with_watermarks(records, lag)
        last = max(timestamp for _, _, timestamp in records) - lag
        parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if whole[a:b]]
        expected = everything("dict", [whole], last, told=False, restore=False)
        found = everything(backend, parts, last, told=told, restore=restore)
        assert found[:-1] == expected[:-1]
        assert restore or found == expected

    check()
