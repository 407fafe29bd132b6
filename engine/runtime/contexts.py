"""What the engine gives to connectors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..clock import Clock
from ..config import RunConfig
from ..executor import Executor
from ..metrics.measures import OperatorMeasures


class ConnectorContext:
    """The `SourceContext` and `SinkContext` of one connector in one subtask."""

    def __init__(
        self,
        operator_id: str,
        job: str,
        subtask: int,
        parallelism: int,
        attempt: int,
        clock: Clock,
        executor: Executor,
        measures: OperatorMeasures,
        config: RunConfig,
    ) -> None:
        self.operator_id = operator_id
        self.renamed_from = {new: old for old, new in config.rename.items()}.get(operator_id)
        self.job = job
        self.subtask = subtask
        self.parallelism = parallelism
        self.attempt = attempt
        self.checkpoint_interval_ms = config.checkpoint_interval_ms
        self.checkpoint_timeout_ms = config.checkpoint_timeout_ms
        self.allow_repeats = config.allow_repeats
        self.on_wake: Callable[[], None] | None = None
        self._clock = clock
        self._executor = executor
        self._measures = measures

    def blocking(self, function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        return self._executor.run(function, *args)

    def now_ms(self) -> int:
        return self._clock.now_ms()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake()

    def count(self, name: str, n: int = 1) -> None:
        self._measures.count(name, n)
