"""An operator at work: its context, its state, and where its records go.

Nodes of one chain form a tree that is walked synchronously, batch by batch. A node pushes into its targets: other nodes,
channel outputs, sink leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from ...operators.batch import Batch
from ...operators.operator import MultiInputOperator, Operator
from ...operators.state import StateDescriptor, Timers
from ...operators.time import MAX_WATERMARK, MIN_WATERMARK
from ..clock import Clock
from ..errors import OperatorError, StateError
from ..metrics.measures import OperatorMeasures
from ..state.backend import OperatorStore


class Entry(Protocol):
    """Anything that takes batches."""

    def process(self, batch: Batch[Any]) -> None: ...


class Target(Entry, Protocol):
    """Anything that takes elements inside a chain."""

    def watermark(self, watermark_ms: int) -> None: ...
    def idle(self) -> None: ...
    def end(self) -> None: ...


class NodeContext:
    """The `OperatorContext` of one operator in one subtask."""

    def __init__(
        self,
        operator_id: str,
        clock: Clock,
        measures: OperatorMeasures,
        store: OperatorStore | None,
        *,
        subtask: int = 0,
        parallelism: int = 1,
        attempt: int = 1,
    ) -> None:
        self.operator_id = operator_id
        self.subtask = subtask
        self.parallelism = parallelism
        self.attempt = attempt
        self.watermark_ms = MIN_WATERMARK
        self.side_targets: dict[str, list[Target]] = {}
        self._clock = clock
        self._measures = measures
        self._store = store
        self._handles: dict[str, Any] = {}

    def state(self, descriptor: StateDescriptor[Any]) -> Any:
        if self._store is None:
            raise StateError(
                f"operator {self.operator_id!r} asks for state {descriptor.name!r} "
                "but its states() does not declare it: declare it there"
            )
        if descriptor.name not in self._handles:
            self._handles[descriptor.name] = descriptor.bind(self._store.tables)
        return self._handles[descriptor.name]

    @property
    def timers(self) -> Timers:
        if self._store is None or self._store.timers is None:
            raise StateError(f"operator {self.operator_id!r} uses timers: set uses_timers = True on its class")
        return self._store.timers

    def due_event_timers(self, watermark_ms: int) -> Iterator[tuple[int, list[Any]]]:
        if self._store is None or self._store.timers is None:
            return iter(())
        return self._store.timers.due_event(watermark_ms)

    def set_current_key(self, key: Any) -> None:
        if self._store is not None:
            self._store.tables.set_current_key(key)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def listened(self, tag: str) -> bool:
        return bool(self.side_targets.get(tag))

    def side_output(self, tag: str) -> Callable[[Batch[Any]], None]:
        targets = self.side_targets.get(tag, [])

        def emit(batch: Batch[Any]) -> None:
            for target in targets:
                target.process(batch)

        return emit

    def count(self, name: str, n: int = 1) -> None:
        self._measures.count(name, n)

    def record_error(self, error: BaseException, batch: Batch[Any], index: int) -> BaseException:
        split_id, offset = batch.locate(index)
        return OperatorError(self.operator_id, error, split_id, offset)


class OperatorNode:
    """One operator in one subtask. The engine's side of the contract in `operators.operator`."""

    def __init__(
        self,
        operator: Operator[Any, Any],
        context: NodeContext,
        measures: OperatorMeasures,
        store: OperatorStore | None,
    ) -> None:
        self.operator = operator
        self.context = context
        self.measures = measures
        self.store = store
        self.targets: list[Target] = []
        self._timers = store.timers if store is not None else None
        self._fires_own_timers = operator.wants_watermarks

    @property
    def everyone(self) -> list[Target]:
        """The targets of the main output and of the side outputs."""
        return [*self.targets, *(t for targets in self.context.side_targets.values() for t in targets)]

    def open(self) -> None:
        with _Boundary(self.context.operator_id):
            self.operator.open(self.context)

    def process(self, batch: Batch[Any]) -> None:
        self.take(batch, self.operator.process)

    def take(self, batch: Batch[Any], process: Callable[[Batch[Any]], Batch[Any] | None]) -> None:
        """Hand a batch to one of the operator's ways in, and what comes out on."""
        self.measures.records_in += len(batch)
        with _Boundary(self.context.operator_id):
            if self.store is not None and batch.keys is not None:
                self.store.prefetch(batch.keys)
            out = process(batch)
        if out is not None:
            self.emit(out)

    def emit(self, batch: Batch[Any]) -> None:
        self.measures.records_out += len(batch)
        for target in self.targets:
            target.process(batch)

    def watermark(self, watermark_ms: int) -> None:
        self.raise_watermark(watermark_ms)
        self.forward_watermark(watermark_ms)

    def raise_watermark(self, watermark_ms: int) -> None:
        """Tell the operator; what it gives out goes on, the watermark itself does not yet."""
        self.context.watermark_ms = watermark_ms
        self.measures.watermark_ms = watermark_ms
        operator = self.operator
        with _Boundary(self.context.operator_id):
            if self._timers is not None and not self._fires_own_timers:
                for timestamp_ms, keys in self._timers.due_event(watermark_ms):
                    self._emit_if(operator.on_timer(timestamp_ms, keys, event_time=True))
            self._emit_if(operator.on_watermark(watermark_ms))

    def forward_watermark(self, watermark_ms: int) -> None:
        for target in self.everyone:
            target.watermark(watermark_ms)

    def idle(self) -> None:
        for target in self.everyone:
            target.idle()

    def processing_time(self, now_ms: int) -> None:
        """Fire the processing-time timers that are due."""
        if self._timers is None:
            return
        with _Boundary(self.context.operator_id):
            for timestamp_ms, keys in self._timers.due_processing(now_ms):
                self._emit_if(self.operator.on_timer(timestamp_ms, keys, event_time=False))

    def next_processing_time(self) -> int | None:
        """When `processing_time` has something to do; None when nothing is set."""
        return None if self._timers is None else self._timers.next_processing()

    def end(self) -> None:
        with _Boundary(self.context.operator_id):
            if self._timers is not None:
                # Nothing waits for the clock any more: what is set fires now, but not what is set meanwhile, or a timer
                # that sets itself anew would never end.
                for timestamp_ms, keys in list(self._timers.due_processing(MAX_WATERMARK)):
                    self._emit_if(self.operator.on_timer(timestamp_ms, keys, event_time=False))
            self._emit_if(self.operator.on_end())
        for target in self.everyone:
            target.end()

    def _emit_if(self, batch: Batch[Any] | None) -> None:
        if batch is not None:
            self.emit(batch)

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        with _Boundary(self.context.operator_id):
            self.operator.prepare_snapshot(checkpoint_id)

    def close(self) -> None:
        self.operator.close()


class InputPort:
    """One input of an operator that has several: takes the batches that come in by it."""

    __slots__ = ("_node", "_process")

    def __init__(self, node: OperatorNode, operator: MultiInputOperator[Any], index: int) -> None:
        self._node = node
        self._process = partial(operator.process_input, index)

    def process(self, batch: Batch[Any]) -> None:
        self._node.take(batch, self._process)


class _Boundary:
    """User code runs inside: whatever it raises leaves as an `OperatorError` that names the operator."""

    __slots__ = ("_operator_id",)

    def __init__(self, operator_id: str) -> None:
        self._operator_id = operator_id

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, OperatorError | StateError):
            raise OperatorError(self._operator_id, error) from error
