"""An operator at work in a chain."""

import pytest
from tidegate.engine import OperatorError, StateError
from tidegate.engine.metrics.measures import OperatorMeasures
from tidegate.engine.runtime.node import NodeContext, OperatorNode
from tidegate.engine.testing import ManualClock
from tidegate.operators import Operator, ValueState
from tidegate.operators.batch import Batch, Origin


class Recorder:
    """A target that writes down what it is told, in order."""

    def __init__(self, log, name=""):
        self.log, self.name = log, name

    def process(self, batch):
        self.log.append((self.name, "batch", batch.values))

    def watermark(self, watermark_ms):
        self.log.append((self.name, "watermark", watermark_ms))

    def idle(self):
        self.log.append((self.name, "idle"))

    def end(self):
        self.log.append((self.name, "end"))


class Holding(Operator):
    """Holds every record until the watermark or the end; odd ones leave by the side output `odd`."""

    def open(self, context):
        self._odd, self._held = context.side_output("odd"), []

    def process(self, batch):
        self._held += [value for value in batch.values if value % 2 == 0]
        odd = [value for value in batch.values if value % 2]
        if odd:
            self._odd(Batch(odd))

    def on_watermark(self, watermark_ms):
        return self._give_out()

    def on_end(self):
        return self._give_out()

    def _give_out(self):
        held, self._held = self._held, []
        return Batch(held) if held else None


def _node(operator, log):
    measures = OperatorMeasures("node", 0)
    context = NodeContext("node", ManualClock(), measures, None)
    context.side_targets = {"odd": [Recorder(log, "odd")]}
    node = OperatorNode(operator, context, measures, None)
    node.targets = [Recorder(log, "main")]
    node.open()
    return node


def test_what_a_watermark_brings_out_goes_before_the_watermark():
    """Else it would be late behind its own cause; side outputs are told the watermark too."""
    log = []
    node = _node(Holding(), log)
    node.process(Batch([1, 2, 4]))
    node.watermark(50)
    assert log == [
        ("odd", "batch", [1]), ("main", "batch", [2, 4]), ("main", "watermark", 50), ("odd", "watermark", 50),
    ]  # fmt: skip


def test_what_the_end_brings_out_goes_before_the_end():
    """And everybody downstream is told the end, once."""
    log = []
    node = _node(Holding(), log)
    node.process(Batch([2]))
    node.end()
    assert log == [("main", "batch", [2]), ("main", "end"), ("odd", "end")]
    assert (node.measures.records_in, node.measures.records_out) == (1, 1)


class Broken(Operator):
    """Fails on its second record, by its own words or by accident."""

    def __init__(self, *, by_accident):
        self._by_accident = by_accident

    def open(self, context):
        self._context = context

    def process(self, batch):
        error = ZeroDivisionError("no")
        if self._by_accident:
            raise error
        raise self._context.record_error(error, batch, 1) from error


def test_an_error_names_the_operator_and_the_record():
    """With the split and the offset of the record that failed; the user's error stays its cause."""
    node = _node(Broken(by_accident=False), [])
    with pytest.raises(OperatorError, match=r"operator 'node' failed on the record at 71 of split a") as raised:
        node.process(Batch([1, 2], origin=Origin("a", [70, 71])))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_an_error_that_slips_out_is_the_operators_all_the_same():
    """Whatever an operator raises leaves as an `OperatorError`."""
    with pytest.raises(OperatorError, match="operator 'node' failed: ZeroDivisionError: no"):
        _node(Broken(by_accident=True), []).process(Batch([1]))


class Undeclared(Operator):
    """Asks for a state that it did not declare."""

    def open(self, context):
        context.state(ValueState("n", int))


def test_a_state_that_was_not_declared_is_refused():
    """It would not be checked against the checkpoint."""
    with pytest.raises(StateError, match=r"asks for state 'n' but its states\(\) does not declare it"):
        _node(Undeclared(), [])
