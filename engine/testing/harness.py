"""Run one operator step by step, merciless by default.

After every step the operator's state is snapshotted and restored into a *new* instance, so an operator that forgets
something at a snapshot cannot pass. Switch it off with `restore_every_step=False`, visibly.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar

from ...operators.batch import Batch
from ...operators.operator import AsyncOperator, MultiInputOperator, Operator
from ...operators.time import MAX_WATERMARK
from .. import state
from ..metrics.measures import OperatorMeasures
from ..runtime.node import Entry, InputPort, NodeContext, OperatorNode
from ..state.backend import OperatorStore, StateBackend, StoreSpec, finish_at_once
from .clock import ManualClock

Out = TypeVar("Out")


class _Capture:
    """A target that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Batch[Any]] = []
        self.watermarks: list[int] = []

    def process(self, batch: Batch[Any]) -> None:
        assert len(batch) > 0, "an operator gave out an empty batch: return None instead"
        self.batches.append(batch)

    def watermark(self, watermark_ms: int) -> None:
        self.watermarks.append(watermark_ms)

    def idle(self) -> None:
        pass

    def end(self) -> None:
        pass


class OperatorHarness(Generic[Out]):
    """One operator, its state and a clock in the hands of a test.

    Args:
        operator: the description; it is copied as the engine copies it.
        backend: where the state is kept.
        restore_every_step: after each step, snapshot and restore into a new instance.
        memory_budget_bytes: budget of the state's cache; a few hundred bytes force eviction.
        side_outputs: tags to capture, besides those that the operator's class names.

    >>> from tidegate.operators.map import Map
    >>> with OperatorHarness(Map(lambda x: x + 1)) as h:
    ...     h.push([1, 2]).values
    [2, 3]
    """

    def __init__(
        self,
        operator: Operator[Any, Out],
        *,
        backend: Literal["dict", "rocksdb"] = "dict",
        restore_every_step: bool = True,
        memory_budget_bytes: int = 1 << 26,
        side_outputs: Sequence[str] = (),
        key_type: Any = None,
        clock: ManualClock | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self._description = operator
        self._backend: StateBackend = state.DictBackend() if backend == "dict" else state.RocksDBBackend()
        self._restore_every_step = restore_every_step
        self._budget = memory_budget_bytes
        self._key_type = key_type
        self._folder = tempfile.TemporaryDirectory(prefix="tidegate-harness-")
        self._steps = 0
        self._serial = itertools.count()
        self._main = _Capture()
        self._sides = {tag: _Capture() for tag in {*operator.side_outputs, "failed", "late", *side_outputs}}
        self._measures = OperatorMeasures(operator_id="operator", subtask=0)
        self.node = self._start(None)

    # ------------------------------------------------------------------ steps

    def push(
        self,
        values: Sequence[Any],
        timestamps: Sequence[int] | None = None,
        keys: Sequence[Any] | None = None,
        watermarks: Sequence[int] | None = None,
        *,
        input: int = 0,
    ) -> OperatorHarness[Out]:
        """One batch, by one of the inputs of an operator that has several."""
        if values:
            if watermarks is None and self._description.wants_watermarks:
                watermarks = [self.node.context.watermark_ms] * len(values)
            self._entry(input).process(
                Batch(
                    list(values),
                    None if timestamps is None else list(timestamps),
                    None if keys is None else list(keys),
                    None if watermarks is None else list(watermarks),
                )
            )
        return self._stepped()

    def watermark(self, watermark_ms: int) -> OperatorHarness[Out]:
        """The watermark rises."""
        self.node.watermark(watermark_ms)
        return self._stepped()

    def advance(self, milliseconds: int) -> OperatorHarness[Out]:
        """Processing time moves on; timers that are due fire."""
        self.clock.advance_ms(milliseconds)
        self.node.processing_time(self.clock.now_ms())
        return self._stepped()

    def end(self) -> OperatorHarness[Out]:
        """The final watermark, then the end of the stream."""
        if self._description.needs_event_time or self._description.uses_timers:
            self.node.watermark(MAX_WATERMARK)
        self.node.end()
        return self._stepped()

    def restore(self) -> OperatorHarness[Out]:
        """Snapshot, and restore into a new instance."""
        watermark_ms = self.node.context.watermark_ms
        store = self.node.store
        self.node.prepare_snapshot(self._steps)
        self.node.close()
        if store is None:
            self.node = self._start(None)
        else:
            files = finish_at_once(store.begin_snapshot(self._path("snapshot")))
            store.close()
            self.node = self._start((files.snapshot, files.directory))
        # The engine restores each split's watermark, and the first thing a restored operator hears is that watermark.
        if watermark_ms > self.node.context.watermark_ms:
            self.watermark_again(watermark_ms)
        return self

    def watermark_again(self, watermark_ms: int) -> None:
        """Tell a restored instance the watermark that held."""
        self.node.watermark(watermark_ms)

    def evict(self) -> OperatorHarness[Out]:
        """What the engine does after a batch when memory is over its budget."""
        if self.node.store is not None and self.node.store.over_budget:
            self.node.store.evict()
        return self

    # ---------------------------------------------------------------- results

    @property
    def output(self) -> list[tuple[Out, int | None]]:
        """The records given out so far: (value, timestamp)."""
        return [
            (value, None if batch.timestamps is None else batch.timestamps[i])
            for batch in self._main.batches
            for i, value in enumerate(batch.values)
        ]

    @property
    def values(self) -> list[Out]:
        """The values given out so far."""
        return [value for batch in self._main.batches for value in batch.values]

    @property
    def keys(self) -> list[Any]:
        """The keys of the records given out so far."""
        return [key for batch in self._main.batches for key in (batch.keys or [None] * len(batch))]

    @property
    def watermarks(self) -> list[int]:
        """The watermarks passed on so far."""
        return self._main.watermarks

    def side(self, tag: str) -> list[Any]:
        """The values sent to a side output so far."""
        return [value for batch in self._sides[tag].batches for value in batch.values]

    @property
    def counters(self) -> dict[str, int]:
        """The operator's counters, `late`, `errors` and `dead_letters` among them."""
        own = {name: getattr(self._measures, name) for name in ("late", "errors", "dead_letters")}
        return {**self._measures.counters, **{name: n for name, n in own.items() if n}}

    def clear(self) -> OperatorHarness[Out]:
        """Forget what was given out so far."""
        for capture in (self._main, *self._sides.values()):
            capture.batches.clear()
            capture.watermarks.clear()
        return self

    def close(self) -> None:
        """Give back the state and its folder."""
        self.node.close()
        if self.node.store is not None:
            self.node.store.close()
        self._folder.cleanup()

    def __enter__(self) -> OperatorHarness[Out]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --------------------------------------------------------------- internals

    def _entry(self, index: int) -> Entry:
        operator = self.node.operator
        return InputPort(self.node, operator, index) if isinstance(operator, MultiInputOperator) else self.node

    def _stepped(self) -> OperatorHarness[Out]:
        self._steps += 1
        self.evict()
        return self.restore() if self._restore_every_step else self

    def _path(self, kind: str) -> Path:
        return Path(self._folder.name) / f"{kind}-{next(self._serial)}"

    def _start(self, snapshot: tuple[Any, Path] | None) -> OperatorNode:
        operator = copy.copy(self._description)
        store = self._open_store(operator, snapshot)
        context = NodeContext("operator", self.clock, self._measures, store)
        context.side_targets = {tag: [capture] for tag, capture in self._sides.items()}
        node = OperatorNode(operator, context, self._measures, store)
        node.targets = [self._main]
        node.open()
        return node

    def _open_store(self, operator: Operator[Any, Any], snapshot: tuple[Any, Path] | None) -> OperatorStore | None:
        descriptors = operator.states()
        if not descriptors and not operator.uses_timers:
            return None
        spec = StoreSpec(
            operator_id="operator",
            subtask=0,
            key_groups=range(128),
            max_parallelism=128,
            descriptors=descriptors,
            uses_timers=operator.uses_timers,
            memory_budget_bytes=self._budget,
            directory=self._path("store"),
            now_ms=self.clock.now_ms,
            key_type=self._key_type,
        )
        return self._backend.create(spec) if snapshot is None else self._backend.restore(spec, [snapshot])


class AsyncOperatorHarness(OperatorHarness[Out]):
    """The harness for an `AsyncOperator`: use it as an async context manager, inside a running loop.

    `push` and `watermark` hand over; `await settle()` lets the calls run until nothing is in flight (the clock must be
    moved by the test, `clock.run`, where calls sleep); `await collect()` takes what is ready now.
    """

    def __init__(self, operator: AsyncOperator[Any, Out], **options: Any) -> None:
        options.setdefault("restore_every_step", False)
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._woken = asyncio.Event()
        super().__init__(operator, **options)

    @property
    def operator(self) -> AsyncOperator[Any, Out]:
        """The running instance."""
        operator = self.node.operator
        assert isinstance(operator, AsyncOperator)
        return operator

    async def __aenter__(self) -> AsyncOperatorHarness[Out]:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self.operator.start(self._spawn, self._woken.set)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._group is not None
        self.node.close()
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        finally:
            super().close()

    def watermark_again(self, watermark_ms: int) -> None:
        self.node.raise_watermark(watermark_ms)

    def watermark(self, watermark_ms: int) -> OperatorHarness[Out]:
        """The watermark rises; the operator passes it on itself."""
        self.node.raise_watermark(watermark_ms)
        return self._stepped()

    async def collect(self) -> AsyncOperatorHarness[Out]:
        """Take what is ready now."""
        for _ in range(10):
            await asyncio.sleep(0)
        for item in self.operator.collect():
            if isinstance(item, Batch):
                self.node.emit(item)
            else:
                self.node.forward_watermark(item)
        return self

    async def settle(self) -> AsyncOperatorHarness[Out]:
        """Collect until nothing is in flight."""
        while True:
            await self.collect()
            if self.operator.idle:
                return await self.collect()
            await self._woken.wait()
            self._woken.clear()

    async def crash_and_restore(self) -> AsyncOperatorHarness[Out]:
        """Snapshot, cancel every call in flight, restore into a new instance and start it."""
        running = list(self._tasks)
        self.restore()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self.operator.start(self._spawn, self._woken.set)
        return self

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        assert self._group is not None, "use the harness as an async context manager"
        task = self._group.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
