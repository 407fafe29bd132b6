"""The order in which results of calls go out, and how calls are kept in a snapshot."""

from typing import Any

import msgspec
import pytest
from tidegate.operators.batch import Batch, Origin
from tidegate.operators.in_flight import Call, InFlight, Line, gather


def calls(n: int, **lists: Any) -> list[Call]:
    batch = Batch(list(range(n)), **lists)
    return [Call(batch, index) for index in range(n)]


def taken(line: Line) -> list[Any]:
    """What goes out: values of calls, and watermarks as ("watermark", …)."""
    return [("watermark", item) if isinstance(item, int) else item.value for item in line.take()]


def test_an_ordered_line_gives_out_only_its_front() -> None:
    """A finished call waits for all before it."""
    line = Line(ordered=True)
    first, second, third = calls(3)
    for call in (first, second, third):
        line.add(call)
    assert not line.ripe
    line.finish(second)
    assert not line.ripe
    assert taken(line) == []
    line.finish(first)
    assert line.ripe
    assert taken(line) == [0, 1]
    line.finish(third)
    assert taken(line) == [2]
    assert not line.ripe


def test_an_unordered_line_gives_out_what_is_finished() -> None:
    """Calls between two watermarks overtake each other."""
    line = Line(ordered=False)
    first, second, third = calls(3)
    line.add(first)
    line.add(second)
    line.hold(10)
    line.add(third)
    line.finish(third)
    assert not line.ripe
    line.finish(second)
    assert taken(line) == [1]
    line.finish(first)
    assert taken(line) == [0, ("watermark", 10), 2]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_watermark_in_an_empty_line_goes_out_at_once(ordered: bool) -> None:
    """Nothing holds it back, and of several that nothing separates the last one counts."""
    line = Line(ordered)
    line.hold(10)
    line.hold(11)
    assert line.ripe
    assert taken(line) == [("watermark", 11)]
    assert taken(line) == []


def test_watermarks_inside_batches_are_borders_too() -> None:
    """Without order, calls with different watermarks before them keep theirs."""
    line = Line(ordered=False)
    first, second, third = calls(3, watermarks=[0, 5, 5])
    for call in (first, second, third):
        line.add(call)
    line.finish(third)
    assert taken(line) == []
    line.finish(first)
    assert taken(line) == [0, 2]


def test_restored_calls_do_not_pass_a_watermark_that_was_held_between_them() -> None:
    """The watermark itself comes again from the engine; until then its place is still a border."""
    line = Line(ordered=False)
    before = calls(4)
    for call in before[:2]:
        line.add(call)
    line.hold(10)
    for call in before[2:]:
        line.add(call)
    again = [Call.restored(call.saved(plain_key=True)) for call in before]
    line = Line(ordered=False)
    for call in again:
        line.add(call)
    for call in reversed(again):
        line.finish(call)
    assert taken(line) == [1, 0, 3, 2]


@pytest.mark.parametrize("key", ["a", None, ("a", (1, 2)), 5])
def test_a_call_survives_a_snapshot(key: Any) -> None:
    """Value, timestamp, key, watermark, split and offset come back from their bytes."""
    batch = Batch(["v", "w"], [1, 2], ["x", key], [3, 4], Origin("s", [("line", 1), ("line", 2)]))
    call = Call(batch, 1)
    Line(ordered=True).add(call)
    data = msgspec.msgpack.encode(call.saved(plain_key=True))
    saved = msgspec.msgpack.decode(data, type=InFlight[str, Any])
    again = gather([Call.restored(saved)])
    assert (again.timestamps, again.keys, again.watermarks) == ([2], [key], [4])
    assert again.locate(0) == ("s", ["line", 2])


def test_what_a_record_does_not_have_it_does_not_get() -> None:
    """A record without timestamp, key and origin comes back without them."""
    [call] = calls(1)
    Line(ordered=True).add(call)
    again = gather([Call.restored(call.saved(plain_key=True))])
    assert (again.timestamps, again.keys, again.watermarks, again.origin) == (None, None, None, None)


def test_only_calls_that_go_with_each_other_share_a_batch() -> None:
    """The same split and the same lists filled."""
    here = Origin("s", None)
    one = Call(Batch([1], [1], origin=here), 0)
    assert one.goes_with(Call(Batch([2], [2], origin=Origin("s", None)), 0))
    assert not one.goes_with(Call(Batch([2], [2], origin=Origin("t", None)), 0))
    assert not one.goes_with(Call(Batch([2], origin=here), 0))
    assert not one.goes_with(Call(Batch([2], [2], ["k"], origin=here), 0))
    assert not one.goes_with(Call(Batch([2], [2], None, [0], origin=here), 0))
