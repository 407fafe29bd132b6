"""User functions over several streams."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import ConnectedFunction, ValueState
from tidegate.operators.connect import ConnectedProcess


class Matched(ConnectedFunction[tuple[str, Any]]):
    """Pairs an order with its payment; an order that is not paid within 100 ms goes to the side output `unpaid`."""

    ORDER = ValueState("order", int)
    PAID = ValueState("paid", int)
    inputs = ("orders", "payments")

    def states(self) -> Any:
        return [self.ORDER, self.PAID]

    def open(self, context: Any) -> None:
        self.order = context.state(self.ORDER)
        self.paid = context.state(self.PAID)

    def process_orders(self, value: int, context: Any) -> Any:
        if value < 0:
            raise ValueError("no such order")
        if self.paid.get() is not None:
            yield ("paid", (value, self.paid.get()))
        else:
            self.order.set(value)
            context.timers.set_event(context.timestamp_ms + 100)

    def process_payments(self, value: int, context: Any) -> Any:
        self.paid.set(value)
        if self.order.get() is not None:
            yield ("paid", (self.order.get(), value))
            self.order.clear()

    def on_timer(self, timestamp_ms: int, context: Any) -> None:
        if self.order.get() is not None:
            context.side_output("unpaid", (context.key, self.order.get()))
            self.order.clear()


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
def test_inputs_share_state_and_timers_by_key(backend):
    """Whichever comes first, restored after every step."""
    with OperatorHarness(ConnectedProcess(Matched(), keyed=True), backend=backend, side_outputs=["unpaid"]) as h:
        h.push([1, 2], [0, 10], ["a", "b"]).push([9, 8], [5, 5], ["a", "c"], input=1).push([3], [6], ["c"])
        assert h.output == [(("paid", (1, 9)), 5), (("paid", (3, 8)), 6)]
        assert h.keys == ["a", "c"]
        h.watermark(109)
        assert h.side("unpaid") == []
        h.watermark(110)
        assert h.side("unpaid") == [("b", 2)]


def test_a_record_that_a_method_fails_on_goes_where_it_is_told():
    """As with one input."""
    with OperatorHarness(ConnectedProcess(Matched(), keyed=True, on_error="dead_letter")) as h:
        h.push([-1], [0], ["a"]).push([9], [5], ["a"], input=1)
        assert [letter.value for letter in h.side("failed")] == [-1]


class Tagged(ConnectedFunction[str]):
    """Says where a record came from."""

    inputs = ("first", "second", "third")

    def process_first(self, value: int, context: Any) -> Any:
        return [f"first {value}"]

    def process_second(self, value: int, context: Any) -> Any:
        return [f"second {value}"]

    def process_third(self, value: int, context: Any) -> Any:
        return None


def test_streams_without_keys_may_be_connected_too():
    """As many as the function has inputs, without state."""
    with OperatorHarness(ConnectedProcess(Tagged(), keyed=False)) as h:
        h.push([1]).push([2], input=1).push([3], input=2)
        assert h.values == ["first 1", "second 2"]


class Halved(ConnectedFunction[str]):
    """Has forgotten an input."""

    def process_left(self, value: int, context: Any) -> Any:
        return [str(value)]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (Halved(), TypeError, r"Halved does not say how to process all its inputs: define process_right\(\)"),
        (lambda value: value, TypeError, "a subclass of ConnectedFunction"),
        (Matched(), ValueError, "call key_by before"),
    ],
)
def test_a_function_that_does_not_fit_is_refused(function, error, message):
    """One clear line when the topology is built."""
    with pytest.raises(error, match=message):
        ConnectedProcess(function, keyed=False)
