"""What an operator is: the contract between the engine and every operator, ours or a user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .batch import Batch
from .state import Handle, StateDescriptor, Timers

In = TypeVar("In")
Out = TypeVar("Out")
H = TypeVar("H", bound=Handle)


class OperatorContext(Protocol):
    """What the engine gives to an operator in `open`, valid until `close`."""

    operator_id: str
    """The stable name under which the operator's state is kept."""
    subtask: int
    parallelism: int
    attempt: int
    """The nth start of the job, from 1."""

    def state(self, descriptor: StateDescriptor[H]) -> H:
        """The handle of a state that `Operator.states` declared. Only in `open`; the same descriptor, the same handle."""
        ...

    @property
    def timers(self) -> Timers:
        """Event- and processing-time timers per key. Only for an operator with `keyed` and `uses_timers`."""
        ...

    def due_event_timers(self, watermark_ms: int) -> Iterator[tuple[int, list[Any]]]:
        """The event-time timers up to `watermark_ms`, ascending, each removed as it is given: (timestamp, keys). For an
        operator that `wants_watermarks` and fires its timers between the records of a batch."""
        ...

    def set_current_key(self, key: Any) -> None:
        """The key that the state handles (`ValueHandle`, …) work on from now on."""
        ...

    @property
    def watermark_ms(self) -> int:
        """The watermark that the operator has been told last; `MIN_WATERMARK` before the first."""
        ...

    def now_ms(self) -> int:
        """Processing time: milliseconds since 1970 UTC by the engine's clock."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait by the engine's clock. For the calls of an `AsyncOperator`; a plain operator may not wait."""
        ...

    def side_output(self, tag: str) -> Callable[[Batch[Any]], None]:
        """Where to send records of a tagged side output. A tag nobody listens to costs nothing and drops them."""
        ...

    def listened(self, tag: str) -> bool:
        """Whether anything is connected to the side output `tag`."""
        ...

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter that is exported with the operator's metrics (`late`, `errors`, a validation rule…)."""
        ...

    def record_error(self, error: BaseException, batch: Batch[Any], index: int) -> BaseException:
        """The error to raise when user code failed on record `index` of `batch`: it names the operator and the
        record's split and offset, and keeps the user's traceback as its cause. Use as
        `raise context.record_error(error, batch, i) from error`."""
        ...


class Operator(Generic[In, Out]):
    """A node of the topology that turns records into records.

    The constructor holds validated settings only: the same object describes the operator in the topology and is
    copied (`copy.copy`) for every subtask of every attempt. Whatever changes while running is made in `open`.

    Who calls what, and when: the engine, from one asyncio task, never two methods at the same time, in the order
    `open` (`process` | `on_watermark` | `on_timer` | `on_wake` | `prepare_snapshot`)* `on_end`? `close`. State has
    been restored before `open`. Every method but `close` must return quickly: it may compute, but not wait (no
    I/O, no sleep): what has to wait belongs into `map_async`, a source or a sink.

    Results must not depend on where batches are cut: two batches handed over one after the other mean the same as
    one with the records of both.
    """

    kind: str = "operator"
    """The word for it in plans and generated names: `map`, `window`, …"""
    keyed: bool = False
    """Needs a keyed stream; its state belongs to (operator, key)."""
    needs_event_time: bool = False
    """Batches must carry timestamps."""
    emits_only_on_watermark: bool = False
    """Says nothing before a watermark, or the end of the stream, moves it."""
    uses_timers: bool = False
    """Will ask for `context.timers`; the engine then calls `on_timer`."""
    wants_watermarks: bool = False
    """Batches must carry `Batch.watermarks`."""
    side_outputs: Sequence[str] = ()
    """The tags it may send to; empty: any, as the user names them. `failed` always counts as known."""

    def states(self) -> Sequence[StateDescriptor[Any]]:
        """The states it keeps, known before anything runs: they are checked against the checkpoint."""
        return ()

    def open(self, context: OperatorContext) -> None:
        """Called once before anything else, state already restored. Keep the context if you need it."""

    def process(self, batch: Batch[In]) -> Batch[Out] | None:
        """The records that come out for `batch`, in order; None when there are none. Never an empty batch."""
        raise TypeError(f"{type(self).__name__} does not say how to process a batch")

    def on_watermark(self, watermark_ms: int) -> Batch[Out] | None:
        """The watermark has risen to `watermark_ms`. What is returned goes out before the watermark does."""
        return None

    def on_timer(self, timestamp_ms: int, keys: Sequence[Any], *, event_time: bool) -> Batch[Out] | None:
        """The timers of `keys` at `timestamp_ms` are due; they are gone already. Called in order of time, before
        `on_watermark` for event time. A timer set inside for a time already passed is called next. Processing-time timers
        that are set when the stream ends are called then, before `on_end`."""
        return None

    def on_end(self) -> Batch[Out] | None:
        """The stream has ended for good; the final watermark came before. Give out what is still held."""
        return None

    def prepare_snapshot(self, checkpoint_id: int) -> None:
        """State is about to be snapshotted: put everything that must survive into the state handles."""

    def close(self) -> None:
        """Called once, last, also after a failure. Must not raise and must not emit."""


class MultiInputOperator(Operator[Any, Out]):
    """An operator with several inputs that it tells apart, such as a join.

    It heads a chain of its own. The engine calls `process_input` in place of `process`. Between the inputs there is no
    order but that of event time: the watermark it hears is the lowest of all inputs, as always.
    """

    inputs: Sequence[str] = ("left", "right")
    """What its inputs are called, in order."""

    def process_input(self, index: int, batch: Batch[Any]) -> Batch[Out] | None:
        """The records that come out for a batch of the input `inputs[index]`, in order; None when there are none."""
        raise TypeError(f"{type(self).__name__} does not say how to process a batch of one of its inputs")


class AsyncOperator(Operator[In, Out]):
    """An operator that has calls in flight between batches (`map_async`).

    It heads a chain of its own. `process` and `on_watermark` take in; results come out of `collect`. The engine
    stops handing over batches while `ready` is False and calls `collect` whenever the operator called
    the `wake` it was given, and once more before a snapshot.
    """

    def start(self, spawn: Callable[[Any], Any], wake: Callable[[], None]) -> None:
        """Called after `open`. `spawn(coroutine)` runs it as a task of the subtask's task group and returns the task;
        `wake()` makes the engine call `collect`."""

    @property
    def ready(self) -> bool:
        """Whether it has room for another batch."""
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight: the stream may end only then."""
        return True

    def collect(self) -> Sequence[Batch[Out] | int]:
        """What has become ready, in order: batches, and watermarks as plain integers (an async operator passes on
        watermarks itself, once no record before them is in flight)."""
        return ()
