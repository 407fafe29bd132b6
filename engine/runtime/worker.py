"""The worker: makes the subtasks of a plan and runs them.

The coordinator speaks to it through `deploy`, `trigger`, `drain`, `release`; it answers through a `Reporter`. Today both
are in one process; the interface is what a remote worker will offer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ...connectors.source import Split
from ..metrics.measures import OperatorMeasures
from ..state.backend import OperatorStore
from .deployment import Deployer, Deployment, Surroundings
from .elements import Barrier
from .source_subtask import SourceSubtask
from .subtask import Subtask


class Worker:
    """Hosts the subtasks of one attempt.

    Attributes:
        sources: the subtasks fed by sources.
        subtasks: the others.
        stores: the state that can be read, by operator and subtask; none once it is being closed.
        released: the attempt has ended, well or not, and every subtask is to return.
    """

    def __init__(self, within: Surroundings) -> None:
        self._within = within
        self._opened: list[tuple[OperatorStore, OperatorMeasures]] = []
        self.stores: dict[tuple[str, int], OperatorStore] = {}
        self._background: asyncio.TaskGroup | None = None
        self.sources: list[SourceSubtask] = []
        self.subtasks: list[Subtask] = []
        self.released = False

    # ------------------------------------------------------------ interface

    async def deploy(self, deployment: Deployment) -> None:
        """Make every subtask, its state restored, without running anything.

        Raises:
            StateError: a store cannot be opened, or its types differ.
        """
        made = Deployer(self._within, deployment, self._spawn)
        # At once, so that what was opened before an error is closed.
        self.sources, self.subtasks, self.stores, self._opened = made.sources, made.subtasks, made.stores, made.opened
        await made.make()

    async def run(
        self, during: Callable[[Callable[[Coroutine[Any, Any, Any]], Any]], Coroutine[Any, Any, None]]
    ) -> None:
        """Run all subtasks, and `during(spawn)` beside them, until `during` returns or anything fails. The state is
        closed in any case.

        Raises:
            BaseExceptionGroup: what failed.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._background = group
                for runner in self._runners:
                    group.create_task(runner.run(), name=runner.name)
                group.create_task(self._supervise(during), name="coordinator")
        finally:
            self._background = None
            self.stores.clear()  # nobody reads what is being closed
            await asyncio.shield(self._within.executor.run(self.close))

    async def _supervise(
        self, during: Callable[[Callable[[Coroutine[Any, Any, Any]], Any]], Coroutine[Any, Any, None]]
    ) -> None:
        try:
            await during(self._spawn)
        finally:
            # Also when all are being cancelled: a connector may overhear that, and it is said only once.
            self.release()

    def trigger(self, barrier: Barrier) -> None:
        """Put a barrier into every source."""
        for source in self.sources:
            source.trigger(barrier)

    def overtake(self, checkpoint_id: int) -> None:
        """From now on the barrier of a checkpoint overtakes what stands before it."""
        for source in self.sources:
            source.overtake(checkpoint_id)
        for subtask in self.subtasks:
            subtask.gate.allow_overtaking(checkpoint_id)

    def give_up(self, checkpoint_id: int) -> None:
        """Nobody waits for a checkpoint any more."""
        for subtask in self.subtasks:
            subtask.gate.forbid_overtaking(checkpoint_id)

    def completed(self, checkpoint_id: int) -> None:
        """A checkpoint is complete and its output committed."""
        for source in self.sources:
            source.completed(checkpoint_id)

    def drain(self) -> None:
        """Sources read no more."""
        for source in self.sources:
            source.drain()

    def release(self) -> None:
        """Every subtask returns."""
        self.released = True
        for runner in self._runners:
            runner.release()

    def add_splits(self, operator_id: str, subtask: int, splits: Sequence[Split]) -> None:
        """Splits found while running, for one subtask of a source."""
        for source in self.sources:
            if source.operator_id == operator_id and source.name.endswith(f"[{subtask}]"):
                source.add_splits(splits)

    @property
    def _runners(self) -> list[SourceSubtask | Subtask]:
        return [*self.sources, *self.subtasks]

    @property
    def names(self) -> list[str]:
        """The names of all subtasks: who must acknowledge."""
        return [runner.name for runner in self._runners]

    def update_measures(self) -> None:
        """Bring the sizes of state up to date."""
        for store, measures in self._opened:
            measures.state_memory_bytes = store.memory_bytes
            measures.state_disk_bytes = store.disk_bytes

    def close(self) -> None:
        """Give back the state. Blocking."""
        while self._opened:
            self._opened.pop()[0].close()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        assert self._background is not None
        return self._background.create_task(coroutine)
