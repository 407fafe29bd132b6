"""Contexts for connectors outside a job: no threads, time moved by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ManualSourceContext:
    """A `SourceContext` for tests. `blocking` runs in line; `sleep` moves `time_ms` on and lets others run.

    Attributes:
        time_ms: what `now_ms` says.
        wakes: how often the reader called `wake`.
        counts: what the source counted.
    """

    operator_id: str = "source"
    job: str = "job"
    subtask: int = 0
    parallelism: int = 1
    attempt: int = 1
    time_ms: int = 0
    wakes: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    async def blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args)

    def now_ms(self) -> int:
        return self.time_ms

    async def sleep(self, seconds: float) -> None:
        self.time_ms += int(seconds * 1000)
        await asyncio.sleep(0)

    def count(self, name: str, n: int = 1) -> None:
        self.counts[name] += n

    def wake(self) -> None:
        self.wakes += 1


@dataclass(slots=True)
class ManualSinkContext:
    """A `SinkContext` for tests. `blocking` runs in line; `sleep` moves `time_ms` on and lets others run.

    Attributes:
        time_ms: what `now_ms` says.
        checkpoint_interval_ms, checkpoint_timeout_ms, allow_repeats: the job's settings.
        counts: what the sink counted.
    """

    operator_id: str = "sink"
    renamed_from: str | None = None
    job: str = "job"
    subtask: int = 0
    parallelism: int = 1
    attempt: int = 1
    time_ms: int = 0
    checkpoint_interval_ms: int = 10_000
    checkpoint_timeout_ms: int = 600_000
    allow_repeats: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    async def blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args)

    def now_ms(self) -> int:
        return self.time_ms

    async def sleep(self, seconds: float) -> None:
        self.time_ms += int(seconds * 1000)
        await asyncio.sleep(0)

    def count(self, name: str, n: int = 1) -> None:
        self.counts[name] += n
