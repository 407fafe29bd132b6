"""The fluent face: what each method adds to the topology, and what comes out."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology, TopologyError, start
from tidegate.operators import MultiInputOperator, ProcessFunction, agg, windows
from tidegate.operators.filter import Filter


async def _run(topology: Topology, **config: Any) -> None:
    async with start(topology, RunConfig(state_backend="dict", **config)) as job:
        await job.wait()


async def _values(make: Any, numbers: Any = (1, 2, 3, 4), **config: Any) -> list[Any]:
    """What comes out of a stream of numbers."""
    topology, sink = Topology("t"), memory.sink()
    make(topology.source("numbers", memory.source(list(numbers), type=int), event_time=lambda n: n)).sink("out", sink)
    await _run(topology, **config)
    return sink.values


async def _double(n: int) -> int:
    return n * 2


class Echo(ProcessFunction[int, int]):
    """Gives every record twice."""

    def process(self, value: int, context: Any) -> Any:
        return [value, value]


@pytest.mark.parametrize(
    ("make", "want"),
    [
        (lambda s: s.map(lambda n: n * 10), [10, 20, 30, 40]),
        (lambda s: s.filter(lambda n: n % 2), [1, 3]),
        (lambda s: s.map(lambda n: n if n % 2 else str(n)).of_type(str), ["2", "4"]),
        (lambda s: s.flat_map(lambda n: [n] * (n % 3)), [1, 2, 2, 4]),
        (lambda s: s.apply(Filter(lambda n: n > 3), name="own"), [4]),
        (lambda s: s.process(Echo()), [1, 1, 2, 2, 3, 3, 4, 4]),
        (lambda s: s.map_async(_double), [2, 4, 6, 8]),
        (lambda s: s.validate({"small": lambda n: n < 3}, on_fail="skip"), [1, 2]),
        (lambda s: s.union(s.map(lambda n: -n)).filter(lambda n: abs(n) < 2), [1, -1]),
        (lambda s: s.key_by(lambda n: n % 2).reduce(lambda a, b: a + b), [1, 2, 4, 6]),
        (lambda s: s.key_by(lambda n: n % 2).fold(0, lambda a, n: a - n, type=int), [-1, -2, -4, -6]),
        (lambda s: s.key_by(lambda n: n % 2).aggregate(n=agg.count()).map(lambda r: (r.key, r.n)),
         [(1, 1), (0, 1), (1, 2), (0, 2)]),
        (lambda s: s.key_by(lambda n: 0).window(windows.tumbling("2ms")).collect().map(lambda w: w.values),
         [[1], [2, 3], [4]]),
        (lambda s: s.key_by(lambda n: 0).window(windows.count(2)).reduce(lambda a, b: a * b).map(lambda w: w.value),
         [2, 12]),
    ],
)  # fmt: skip
async def test_each_method_does_what_its_name_says(make, want):
    """One line in, one result out."""
    assert sorted(map(str, await _values(make))) == sorted(map(str, want))


async def test_split_gives_each_record_to_its_first_case_and_the_rest_to_the_rest():
    """No record comes twice, none is lost."""
    topology, sinks = Topology("t"), {tag: memory.sink() for tag in ("even", "big", "rest")}
    stream = topology.source("numbers", memory.source([1, 2, 3, 8, 9]))
    cases, rest = stream.split({"even": lambda n: n % 2 == 0, "big": lambda n: n > 5})
    for tag, case in {**cases, "rest": rest}.items():
        case.sink(tag, sinks[tag])
    await _run(topology)
    assert {tag: sink.values for tag, sink in sinks.items()} == {"even": [2, 8], "big": [9], "rest": [1, 3]}


async def test_dead_letters_are_a_stream_like_any_other():
    """They carry the value, the error, the operator and the place."""
    topology, good, bad = Topology("t"), memory.sink(), memory.sink()
    stream = topology.source("numbers", memory.source([1, 0, 2])).map(
        lambda n: 6 // n, name="divide", on_error="dead_letter"
    )
    stream.sink("good", good)
    stream.side_output("failed").map(lambda d: (d.value, d.operator, d.split, d.offset)).sink("bad", bad)
    await _run(topology)
    assert good.values == [6, 3]
    assert bad.values == [(0, "divide", "0", 1)]


class Sorted(ProcessFunction[int, int]):
    """Sends negative numbers aside."""

    def process(self, value: int, context: Any) -> Any:
        if value < 0:
            context.side_output("negative", value)
            return None
        return [value]


async def test_a_function_may_name_side_outputs_of_its_own():
    """What it sends under a tag comes out of the stream of that tag."""
    topology, main, side = Topology("t"), memory.sink(), memory.sink()
    stream = topology.source("numbers", memory.source([1, -2, 3])).process(Sorted(), name="sort")
    stream.sink("main", main)
    stream.side_output("negative").sink("side", side)
    await _run(topology)
    assert (main.values, side.values) == ([1, 3], [-2])


async def test_keys_stay_with_the_results_of_a_window():
    """A window's results may be windowed again without another key_by."""

    def make(stream: Any) -> Any:
        first = stream.key_by(lambda n: n % 2).window(windows.tumbling("2ms")).aggregate(n=agg.count(), name="a")
        second = first.window(windows.tumbling("4ms")).aggregate(n=agg.sum("n"), name="b")
        return second.map(lambda w: (w.key, w.start_ms, w.n))

    assert sorted(await _values(make, range(8))) == [(0, 0, 2), (0, 4, 2), (1, 0, 2), (1, 4, 2)]


@pytest.mark.parametrize("width", [1, 3])
async def test_round_robin_and_broadcast_reach_every_subtask(width):
    """Dealt out, each record comes once; to everyone, once per subtask."""
    assert sorted(await _values(lambda s: s.round_robin().map(lambda n: n), parallelism=width)) == [1, 2, 3, 4]
    found = await _values(lambda s: s.broadcast().map(lambda n: n), parallelism=width)
    assert sorted(found) == sorted([1, 2, 3, 4] * width)


def test_calls_in_flight_need_the_type_of_their_records():
    """They are stored in every checkpoint: without a type the message says how to give one."""
    stream = Topology("t").source("numbers", memory.source([1]))
    with pytest.raises(TopologyError, match=r"map_async 'map_async-1' .* pass input_type="):
        stream.map_async(_double)


def test_a_window_needs_a_keyed_stream():
    """The methods of keys are not there before key_by."""
    stream = Topology("t").source("numbers", memory.source([1]))
    assert not hasattr(stream, "window")
    assert hasattr(stream.key_by(lambda n: n), "window")


class Either(MultiInputOperator[int]):
    """The records of both inputs."""

    kind = "either"

    def process_input(self, index: int, batch: Any) -> Any:
        return batch


async def test_an_operator_with_two_inputs_takes_two_streams():
    """The stream it is applied to is the first."""
    assert sorted(await _values(lambda s: s.apply(Either(), s.map(lambda n: -n)))) == [-4, -3, -2, -1, 1, 2, 3, 4]


def test_an_operator_with_two_inputs_refuses_one():
    """And one with a single input refuses two; the inputs are named."""
    stream = Topology("t").source("numbers", memory.source([1]))
    with pytest.raises(TopologyError, match=r"either 'e' takes 2 streams \(left, right\), not 1"):
        stream.apply(Either(), name="e")
    with pytest.raises(TopologyError, match=r"filter takes 1 stream \(input\), not 2"):
        stream.apply(Filter(bool), stream)
