"""What can be done with a window: aggregate, reduce, fold, collect, process."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import agg, windows
from tidegate.operators.window import WindowOperator
from tidegate.operators.window_global import GlobalWindowOperator
from tidegate.operators.window_session import SessionOperator
from tidegate.operators.windowed import (
    window_aggregate,
    window_collect,
    window_fold,
    window_process,
    window_reduce,
)


class Reading(msgspec.Struct, frozen=True):
    """A record of these tests."""

    v: int


def results(operator: Any, values: list[Any], times: list[int]) -> list[Any]:
    """What comes out of all these records of one key."""
    with OperatorHarness(operator) as h:
        h.push(values, times, ["a"] * len(values)).end()
        return h.values


@pytest.mark.parametrize(
    ("assigner", "kind"),
    [
        (windows.tumbling("10ms"), WindowOperator),
        (windows.sliding("10ms", "5ms"), WindowOperator),
        (windows.session("10ms"), SessionOperator),
        (windows.global_(), GlobalWindowOperator),
        (windows.count(2), GlobalWindowOperator),
    ],
)
def test_each_assigner_has_its_operator(assigner: windows.Assigner, kind: type) -> None:
    """One function for all windows; the results have the bounds and the aggregates."""
    operator = window_aggregate(assigner, {"n": agg.count()})
    assert isinstance(operator, kind)
    assert operator.result_type.__struct_fields__ == ("key", "start_ms", "end_ms", "n")


def test_reduce_puts_the_values_of_a_window_together() -> None:
    """Also across panes, and without a value of its own to start from."""
    for assigner in (windows.tumbling("10ms"), windows.session("10ms"), windows.sliding("10ms", "10ms")):
        assert [r.value for r in results(window_reduce(assigner, max), [3, 9, 4], [1, 2, 3])] == [9]


def test_reduce_keeps_structs_when_it_knows_their_type() -> None:
    """By `type=`, or by the type of the records."""
    values = [Reading(1), Reading(2)]
    for known in ({"type": Reading}, {"record_type": Reading}):
        operator = window_reduce(windows.tumbling("10ms"), lambda a, b: Reading(a.v + b.v), **known)
        assert [r.value for r in results(operator, values, [1, 2])] == [Reading(3)]


def test_fold_starts_from_its_initial_value_and_merges_where_windows_overlap() -> None:
    """Sliding windows need `merge`; tumbling ones do not."""
    fold = window_fold(windows.tumbling("10ms"), 100, lambda so_far, v: so_far + v)
    assert [r.value for r in results(fold, [1, 2], [1, 2])] == [103]
    fold = window_fold(windows.sliding("10ms", "5ms"), list, lambda s, v: [*s, v], merge=lambda a, b: a + b)
    assert [r.value for r in results(fold, [1, 2], [1, 6])] == [[1], [1, 2], [2]]
    with pytest.raises(ValueError, match="merge="):
        window_fold(windows.session("1s"), 0, max)


def test_collect_gives_out_the_values() -> None:
    """In the order in which they came, the first `limit`."""
    operator = window_collect(windows.tumbling("10ms"), limit=2)
    assert [r.values for r in results(operator, [3, 1, 2], [5, 1, 2])] == [[3, 1]]


def test_process_gives_out_whatever_the_function_makes_of_a_window() -> None:
    """Any number of results, each with the window's last moment as its timestamp and the window's key."""

    def function(key: str, window: windows.Window, values: list[int]) -> list[Any]:
        return [(key, window.start_ms, window.end_ms, v) for v in values if v > 1]

    with OperatorHarness(window_process(windows.tumbling("10ms"), function)) as h:
        h.push([1, 2, 3, 1], [1, 2, 3, 11], ["a"] * 4).end()
        assert h.output == [(("a", 0, 10, 2), 9), (("a", 0, 10, 3), 9)]
        assert h.keys == ["a", "a"]


def test_windows_without_time_take_no_lateness() -> None:
    """A count window never calls a record late."""
    with pytest.raises(ValueError, match="allowed_lateness"):
        window_aggregate(windows.count(2), {"n": agg.count()}, allowed_lateness="1s")
