"""One record for each record, by a coroutine."""

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, restart
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import AsyncOperatorHarness
from tidegate.engine.testing.scripted import BARRIER, CRASH, ScriptedSource, run_script
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.errors import Retry
from tidegate.operators.map_async import MapAsync
from tidegate.operators.time import MAX_WATERMARK


class Service:
    """Answers each value with ten times the value once the test lets it.

    Attributes:
        calls: the values it was called with, in order.
        failures: value → how often it fails, after which it answers.
    """

    def __init__(self, failures: dict[int, int] | None = None) -> None:
        self.calls: list[int] = []
        self.failures = dict(failures or {})
        self.in_flight = 0
        self.most_in_flight = 0
        self._gates: dict[int, asyncio.Event] = {}
        self._open = False

    async def __call__(self, value: int) -> int:
        self.calls.append(value)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if not self._open:
                await self._gate(value).wait()
            if self.failures.get(value):
                self.failures[value] -= 1
                raise ConnectionError(f"no answer to {value}")
            return value * 10
        finally:
            self.in_flight -= 1

    def answer(self, *values: int) -> None:
        for value in values:
            self._gate(value).set()

    def answer_all(self) -> None:
        self._open = True
        for gate in self._gates.values():
            gate.set()

    def _gate(self, value: int) -> asyncio.Event:
        return self._gates.setdefault(value, asyncio.Event())


class JumpingSelector(selectors.DefaultSelector):
    """Does not wait: moves the loop's time on instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


def simulated(main: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine on a loop whose time jumps to the next thing to do."""
    selector = JumpingSelector()

    def make_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.now  # type: ignore[method-assign]  # that is how a loop is told the time
        return loop

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main)


@asynccontextmanager
async def harness(
    function: Any, *, backend: Literal["dict", "rocksdb"] = "dict", input_type: Any = int, **options: Any
) -> AsyncIterator[AsyncOperatorHarness[Any]]:
    operator = MapAsync(function, input_type=input_type, **options)
    async with AsyncOperatorHarness(operator, backend=backend) as h:
        yield h


def counted(h: AsyncOperatorHarness[Any], name: str) -> int:
    return h.counters.get(name, 0) or getattr(h._measures, name, 0)


async def settle_failing(h: AsyncOperatorHarness[Any]) -> None:
    """Collect as the engine does, with user errors leaving as they leave the engine."""
    with pytest.raises(OperatorError) as raised:
        while True:
            await h.collect()
    raise raised.value


async def test_ordered_results_wait_for_their_turn() -> None:
    """A result goes out when all before it are out, with its record's timestamp and key."""
    service = Service()
    async with harness(service) as h:
        h.push([1, 2, 3], timestamps=[10, 20, 30], keys=["a", "b", "c"])
        await h.collect()
        service.answer(2, 3)
        assert (await h.collect()).values == []
        service.answer(1)
        assert (await h.settle()).output == [(10, 10), (20, 20), (30, 30)]
        assert h.keys == ["a", "b", "c"]
        assert h.operator.idle


async def test_unordered_results_come_as_they_come() -> None:
    """Without order a result goes out as soon as it is there."""
    service = Service()
    async with harness(service, ordered=False) as h:
        h.push([1, 2, 3], timestamps=[10, 20, 30])
        await h.collect()
        service.answer(3)
        assert (await h.collect()).output == [(30, 30)]
        service.answer_all()
        assert (await h.settle()).output == [(30, 30), (10, 10), (20, 20)]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_watermark_waits_for_the_records_before_it(ordered: bool) -> None:
    """A watermark goes out behind all results of records before it, and before all others."""
    service = Service()
    async with harness(service, ordered=ordered) as h:
        h.watermark(1)
        assert (await h.collect()).watermarks == [1]
        h.push([1, 2]).watermark(5)
        h.push([3]).watermark(7)
        h.watermark(8)
        await h.collect()
        service.answer(1, 3)
        await h.collect()
        assert (h.values, h.watermarks) == ([10], [1])
        service.answer(2)
        await h.settle()
        assert (h.values, h.watermarks) == ([10, 20, 30], [1, 5, 8])


async def test_unordered_results_do_not_pass_a_watermark_inside_a_batch() -> None:
    """Where batches carry watermarks, records with different ones keep their order."""
    service = Service()
    async with harness(service, ordered=False) as h:
        h.push([1, 2, 3, 4], timestamps=[1, 2, 3, 4], watermarks=[0, 0, 2, 2])
        await h.collect()
        service.answer(2, 3, 4)
        assert (await h.collect()).values == [20]
        service.answer(1)
        await h.settle()
        assert h.values == [20, 10, 30, 40]
        assert [mark for batch in h._main.batches for mark in batch.watermarks or ()] == [0, 0, 2, 2]


async def test_no_more_calls_than_capacity() -> None:
    """A big batch starts `capacity` calls, the rest waits inside, and no further batch is taken in."""
    service = Service()
    async with harness(service, capacity=3) as h:
        assert h.operator.ready
        h.push(range(10))
        assert not h.operator.ready
        await h.collect()
        assert service.calls == [0, 1, 2]
        service.answer(1, 2)
        await h.collect()
        assert service.calls == [0, 1, 2, 3, 4]
        service.answer_all()
        await h.settle()
        assert h.operator.ready
        assert service.most_in_flight == 3
        assert h.values == [10 * i for i in range(10)]


async def test_a_batch_after_a_lull_is_called_for() -> None:
    """Calls go on whenever records come, also at the moment when the last ones have ended."""
    async with harness(Service(), capacity=2) as h:
        h.operator.function.answer_all()  # type: ignore[attr-defined]  # it is a Service
        for start in range(0, 30, 3):
            h.push(range(start, start + 3))
            for _ in range(start % 5):
                await asyncio.sleep(0)
        assert (await h.settle()).values == [10 * i for i in range(30)]


async def test_ready_counts_results_that_wait_for_their_turn() -> None:
    """One slow call must not let finished results pile up behind it."""
    service = Service()
    async with harness(service, capacity=3) as h:
        h.push([0, 1, 2])
        await h.collect()
        service.answer(1, 2)
        await h.collect()
        assert not h.operator.ready
        service.answer(0)
        await h.settle()
        assert h.operator.ready


async def test_a_failing_call_is_tried_again_after_a_wait() -> None:
    """The waits grow and go by the engine's clock."""
    service = Service({1: 2})
    service.answer_all()
    async with harness(service, retry=Retry(attempts=3, delay="100ms", backoff=3)) as h:
        h.push([1])
        await h.collect()
        assert service.calls == [1]
        h.clock.advance_ms(99)
        await h.collect()
        assert service.calls == [1]
        h.clock.advance_ms(1)
        await h.collect()
        assert service.calls == [1, 1]
        h.clock.advance_ms(299)
        await h.collect()
        assert h.values == []
        h.clock.advance_ms(1)
        assert (await h.settle()).values == [10]
        assert counted(h, "retries") == 2


async def test_fail_gives_out_what_was_ready_and_names_the_record() -> None:
    """With "fail" the results before the failed record go out, then the job ends with its split and offset."""
    service = Service({3: 9})
    service.answer_all()
    async with harness(service) as h:
        h.node.process(Batch([1, 2, 3, 4], origin=Origin("s", range(100, 104))))
        with pytest.raises(OperatorError, match="record at 102 of split s: ConnectionError: no answer to 3"):
            await settle_failing(h)
        assert h.values == [10, 20]
        assert not h.operator.idle


@pytest.mark.parametrize("ordered", [True, False])
async def test_failed_records_can_be_left_out(ordered: bool) -> None:
    """With "skip" the record is missing and the rest goes on, watermarks too."""
    service = Service({2: 9})
    service.answer_all()
    async with harness(service, ordered=ordered, on_error="skip") as h:
        h.push([1, 2, 3]).watermark(5)
        await h.settle()
        assert (h.values, h.watermarks) == ([10, 30], [5])
        assert (counted(h, "errors"), counted(h, "skipped")) == (1, 1)


async def test_dead_letters_say_how_often_it_was_tried() -> None:
    """When the last try fails the record becomes a dead letter with its offset and number of tries."""
    service = Service({2: 9})
    service.answer_all()
    async with harness(service, retry=Retry(attempts=3, delay="0ms"), on_error="dead_letter") as h:
        h.node.process(Batch([1, 2, 3], [5, 6, 7], origin=Origin("s", ["a", "b", "c"])))
        await h.settle()
        assert h.output == [(10, 5), (30, 7)]
        [letter] = h.side("failed")
        assert (letter.value, letter.tries, letter.timestamp_ms, letter.offset) == (2, 3, 6, "b")
        assert letter.error == "ConnectionError: no answer to 2"
        assert [frame.rpartition(" in ")[2] for frame in letter.traceback] == ["Service.__call__"]


def test_a_call_that_takes_too_long_has_failed() -> None:
    """Each try has the timeout for itself; the last one's error says how long we waited."""

    async def slow(value: int) -> int:
        await asyncio.sleep(value)
        return value

    async def check() -> None:
        options: dict[str, Any] = {"timeout": "5s", "on_error": "dead_letter"}
        async with harness(slow, retry=Retry(attempts=2, delay="0ms"), **options) as h:
            h.push([1, 7, 4])
            await h.settle()
            assert h.values == [1, 4]
            [letter] = h.side("failed")
            assert (letter.error, letter.tries) == ("TimeoutError: no answer within 5s", 2)
            assert asyncio.get_running_loop().time() == pytest.approx(10)

    simulated(check())


async def test_a_timeout_of_the_function_itself_keeps_its_message() -> None:
    """Only our own timeout speaks of ours."""

    async def gives_up(value: int) -> int:
        raise TimeoutError("the server is slow")

    async with harness(gives_up, timeout=None, on_error="dead_letter") as h:
        h.push([1])
        await h.settle()
        assert h.side("failed")[0].error == "TimeoutError: the server is slow"


async def test_a_cancellation_from_inside_is_a_failure() -> None:
    """A call that lets out somebody else's cancellation does not vanish with its record."""

    async def cancelled(value: int) -> int:
        if value == 2:
            raise asyncio.CancelledError
        return value

    async with harness(cancelled, on_error="dead_letter") as h:
        h.push([1, 2, 3])
        await h.settle()
        assert h.values == [1, 3]
        assert h.side("failed")[0].error == "RuntimeError: the call was cancelled from inside"


async def test_a_function_that_is_no_coroutine_function_is_a_clear_error() -> None:
    """A forgotten `async` is named as what it is."""

    def plain(value: int) -> Any:
        return value

    async with harness(plain) as h:
        h.push([1])
        with pytest.raises(OperatorError, match="async def, or use map"):
            await settle_failing(h)


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_calls_in_flight_are_called_again_after_a_restore(backend: Literal["dict", "rocksdb"]) -> None:
    """What has not gone out at the snapshot is called for again, and each result goes out once, in order."""
    service = Service()
    async with harness(service, capacity=3, backend=backend) as h:
        h.push(range(6), timestamps=range(10, 16), keys=[(i, "k") for i in range(6)])
        await h.collect()
        service.answer(0, 2)
        await h.collect()
        assert h.values == [0]
        await h.crash_and_restore()
        await h.collect()
        # 1, 3 and 4 were in flight, 2 was finished but not out, 5 had not begun. 2 is answered again at once.
        assert service.calls == [0, 1, 2, 3, 4, 1, 2, 3, 4]
        service.answer_all()
        await h.settle()
        assert h.output == [(10 * i, 10 + i) for i in range(6)]
        assert h.keys == [(i, "k") for i in range(6)]


async def test_a_restored_record_still_knows_its_offset() -> None:
    """A dead letter after a restore names split and offset like one before it."""
    service = Service({2: 9})
    async with harness(service, on_error="dead_letter") as h:
        h.node.process(Batch([1, 2], [5, 6], watermarks=[3, 4], origin=Origin("s", [("line", 8), ("line", 9)])))
        await h.crash_and_restore()
        await h.crash_and_restore()
        service.answer_all()
        await h.settle()
        [letter] = h.side("failed")
        assert (letter.split, letter.offset, letter.timestamp_ms) == ("s", ["line", 9], 6)
        assert h._main.batches[0].watermarks == [3]
        assert h._main.batches[0].locate(0) == ("s", ["line", 8])


async def test_records_of_any_declared_type_survive() -> None:
    """Structs come back as structs, also in keys when their type is given."""

    class Flight(msgspec.Struct, frozen=True):
        number: int

    async def number(flight: Flight) -> int:
        await gate.wait()
        return flight.number

    gate = asyncio.Event()
    async with harness(number, input_type=Flight, key_type=Flight) as h:
        h.push([Flight(1), Flight(2)], keys=[Flight(3), Flight(4)])
        await h.crash_and_restore()
        gate.set()
        assert (await h.settle()).values == [1, 2]
        assert h.keys == [Flight(3), Flight(4)]


async def test_nothing_in_flight_is_nothing_in_the_snapshot() -> None:
    """After everything is out a restore calls for nothing."""
    service = Service()
    service.answer_all()
    async with harness(service) as h:
        h.push([1, 2])
        await h.settle()
        await h.crash_and_restore()
        await h.settle()
        assert service.calls == [1, 2]
        assert h.values == [10, 20]


async def test_results_of_different_splits_keep_their_origin() -> None:
    """A batch goes out per split, so that each record can be found in its own."""
    service = Service()
    service.answer_all()
    async with harness(service) as h:
        h.node.process(Batch([1, 2], origin=Origin("s", [10, 20])))
        h.node.process(Batch([3], origin=Origin("t", [30])))
        h.push([4])
        await h.settle()
        found = [batch.locate(i) for batch in h._main.batches for i in range(len(batch))]
        assert found == [("s", 10), ("s", 20), ("t", 30), (None, None)]


async def test_closing_leaves_no_calls_behind() -> None:
    """`close` cancels what is in flight, and a call that swallows it is the last of its worker."""
    stubborn: list[int] = []

    async def function(value: int) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stubborn.append(value)
        return value

    before = asyncio.all_tasks()
    async with harness(function, capacity=2) as h:
        h.push([1, 2, 3, 4])
        await h.collect()
        assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before
    assert stubborn == [1, 2]


def test_close_without_open_is_harmless() -> None:
    """`close` is also called when `open` has failed."""
    MapAsync(Service(), input_type=int).close()


async def test_a_record_of_another_type_is_refused_when_it_comes() -> None:
    """A value that a checkpoint could not give back is found at once, not at the restore."""
    async with harness(Service(), input_type=int) as h:
        with pytest.raises(OperatorError, match="record at 1 of split s: TypeError: got a str, but input_type is"):
            h.node.process(Batch([1, "2"], origin=Origin("s", [0, 1])))


class Entry(TypedDict):
    """A record as a typed dict, which has no class to ask for."""

    name: str


@pytest.mark.parametrize(
    ("input_type", "good", "bad"),
    [
        (float, 1, "1"),
        (dict[str, int], {"a": 1}, [1]),
        (int | None, None, "x"),
        (Annotated[int, "positive"], 1, "x"),
        (None, None, 0),
        (Any, "anything", None),
        (Entry, {"name": "a"}, None),
        (list[int] | str, "a", 1),
    ],
)
async def test_types_are_checked_as_far_as_they_can_be(input_type: Any, good: Any, bad: Any) -> None:
    """Classes, unions and generics are checked by their classes; what has none is let in."""

    async def same(value: Any) -> Any:
        return value

    async with harness(same, input_type=input_type) as h:
        h.push([good])
        assert (await h.settle()).values == [good]
        if bad is not None:
            with pytest.raises(OperatorError, match="input_type"):
                h.push([bad])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "capacity=0"),
        ({"timeout": "soon"}, "not a duration"),
        ({"on_error": "ignore"}, "not known"),
        ({"retry": Retry(), "on_error": Retry()}, "another as on_error"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str) -> None:
    """What cannot work is refused when the operator is described."""
    with pytest.raises(ValueError, match=message):
        MapAsync(Service(), input_type=int, **options)


def test_a_retry_says_what_comes_then() -> None:
    """`retry.then` holds unless `on_error` says otherwise; a `Retry` may also stand as `on_error`."""
    assert MapAsync(Service(), input_type=int).on_error == "fail"
    assert MapAsync(Service(), input_type=int, retry=Retry(then="skip")).on_error == "skip"
    assert MapAsync(Service(), input_type=int, retry=Retry(then="skip"), on_error="fail").on_error == "fail"
    operator = MapAsync(Service(), input_type=int, on_error=Retry(attempts=7, then="dead_letter"))
    assert (operator.on_error, operator.retry.attempts) == ("dead_letter", 7)


def test_jitter_spreads_the_second_tries() -> None:
    """Calls that failed together do not come back together, and come back the same way in every run."""

    def tries() -> list[float]:
        times: list[float] = []

        async def failing(value: int) -> int:
            times.append(asyncio.get_running_loop().time())
            raise ConnectionError

        async def check() -> None:
            async with harness(failing, on_error=Retry(attempts=2, delay="1s", jitter=1, then="skip")) as h:
                loop = asyncio.get_running_loop()
                h.node.context.sleep = asyncio.sleep
                h.push(range(10))
                await h.settle()
                assert loop.time() <= 1

        simulated(check())
        return times

    first = tries()
    assert first[:10] == [0] * 10
    assert len({round(time, 3) for time in first[10:]}) > 7
    assert tries() == first


Step = tuple[str, Any]


def expected_segments(steps: list[Step]) -> list[tuple[list[int], int]]:
    """The results between watermarks, and the watermark behind them."""
    segments: list[tuple[list[int], int]] = []
    current: list[int] = []
    for kind, what in steps:
        if kind == "push":
            current.extend(10 * value for value, _ in what if value % 7)
        else:
            segments.append((current, what))
            current = []
    return [*segments, (current, MAX_WATERMARK)]


class Log:
    """A target that keeps values and watermarks in the order in which they come."""

    def __init__(self) -> None:
        self.values: list[int] = []
        self.marks: dict[int, int] = {}
        """Watermark → how many values came before it."""

    def process(self, batch: Batch[Any]) -> None:
        self.values.extend(batch.values)

    def watermark(self, watermark_ms: int) -> None:
        self.marks[watermark_ms] = len(self.values)

    def idle(self) -> None:
        pass

    def end(self) -> None:
        pass


@pytest.mark.parametrize("ordered", [True, False])
def test_batches_and_delays_change_nothing(ordered: bool) -> None:
    """However records are cut into batches and however long calls take, results come out once, in order of the
    records or at least between their watermarks, also after a restore."""

    def number(batches: list[list[int]]) -> list[Step]:
        steps: list[Step] = []
        value = 0
        for mark, batch in enumerate(batches, 1):
            steps.append(("push", [(value + i, delay) for i, delay in enumerate(batch)]))
            value += len(batch)
            if mark % 2:
                steps.append(("watermark", mark))
        return steps

    @settings(max_examples=60, deadline=None)
    @given(
        steps=st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=6).map(number),
        capacity=st.integers(1, 5),
        crash_at=st.one_of(st.none(), st.integers(0, 8)),
        pause=st.integers(0, 4),
    )
    def check(steps: list[Step], capacity: int, crash_at: int | None, pause: int) -> None:
        delays = dict(pair for kind, what in steps if kind == "push" for pair in what)

        async def function(value: int) -> int:
            if delays[value]:
                await asyncio.sleep(delays[value])
            if value % 7 == 0:
                raise ValueError
            return 10 * value

        log = Log()

        async def run() -> None:
            options: dict[str, Any] = {"ordered": ordered, "capacity": capacity, "on_error": "skip"}
            async with harness(function, **options) as h:
                h.node.targets.append(log)
                for i, (kind, what) in enumerate(steps):
                    if kind == "push":
                        h.push([value for value, _ in what])
                    else:
                        h.watermark(what)
                    await asyncio.sleep(pause)
                    await h.collect()
                    if i == crash_at:
                        await h.crash_and_restore()
                await h.settle()
                done = 0
                for results, mark in expected_segments(steps):
                    found = h.values[done : done + len(results)]
                    assert (found if ordered else sorted(found)) == results
                    done += len(results)
                    assert log.marks.pop(mark, done) == done
                assert done == len(h.values)
                assert not log.marks

        simulated(run())

    check()


def test_the_type_of_the_records_must_be_said() -> None:
    """Without it a snapshot could not be read back, so it has no default."""
    function: Callable[[int], Awaitable[int]] = Service()
    with pytest.raises(TypeError, match="input_type"):
        MapAsync(function)  # type: ignore[call-arg]  # what is tested


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
async def test_results_in_the_order_of_each_key(backend: Literal["dict", "rocksdb"]) -> None:
    """One call of a key after the other, those of different keys side by side; also after a crash."""
    service = Service()
    async with harness(service, ordered="key", backend=backend) as h:
        h.push([1, 2, 3, 4], keys=["a", "a", "b", ("c", 1)]).watermark(5)
        await h.collect()
        assert service.calls == [1, 3, 4]
        service.answer(3)
        await h.collect()
        await h.crash_and_restore()
        await h.collect()
        assert service.calls[3:] == [1, 4]
        service.answer(2, 4)
        await h.collect()
        service.answer(1)
        await h.settle()
        assert list(zip(h.values, h.keys, strict=True)) == [(30, "b"), (40, ("c", 1)), (10, "a"), (20, "a")]


def test_an_order_that_is_not_known_is_refused() -> None:
    """The message names those that are."""
    with pytest.raises(ValueError, match=r"""map_async\(ordered='keys'\) is not known: use True, False or "key\""""):
        MapAsync(Service(), input_type=int, ordered="keys")  # type: ignore[arg-type]  # that is the mistake


@pytest.mark.slow
def test_a_job_that_crashes_keeps_the_order_of_each_key(tmp_path: Path) -> None:
    """Two subtasks, with calls in flight at checkpoints and crashes: each result once, a key's in order."""

    async def slow(record: dict[str, int]) -> dict[str, int]:
        for _ in range(record["n"] * 7 % 11):
            await asyncio.sleep(0)
        return record

    records = [{"k": n % 5, "n": n} for n in range(120)]
    script = [*records[:40], BARRIER, *records[40:60], CRASH, *records[60:90], BARRIER, CRASH, *records[90:]]
    topology, source, sink = Topology("ordered"), ScriptedSource(script), memory.sink()
    keyed = topology.source("records", source).key_by("k", name="by-k")
    keyed.map_async(slow, name="ask", ordered="key", capacity=7, input_type=dict).sink("out", sink)
    config = RunConfig(checkpoints=tmp_path, parallelism=2, restart=restart.fixed_delay(2, "0ms"))
    status = asyncio.run(run_script(topology, source, config))
    found = {k: [record["n"] for record in sink.values if record["k"] == k] for k in range(5)}
    assert (status.value, found) == ("finished", {k: list(range(k, 120, 5)) for k in range(5)})
