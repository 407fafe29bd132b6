"""What must never change a result, for any input: batch boundaries, the state backend, the memory budget, the
parallelism that a checkpoint is restored at."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import memory
from tidegate.engine import JobStatus, RunConfig, Topology, restart, start
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, END, ManualClock, Pause, ScriptedSource, run_script
from tidegate.operators import ProcessFunction, ValueState

KINDS = ("stateless", "keyed", "tumbling", "sliding", "session", "process", "map_async")
WINDOWS = ("tumbling", "sliding")


def inputs(reading: Any) -> st.SearchStrategy[list[Any]]:
    """Readings whose event time jumps back and forth."""
    key = st.sampled_from(["a", "b", "cc", "ü", ""])
    return st.lists(st.builds(reading, key, st.integers(0, 700), st.integers(-(2**40), 2**40)), min_size=1, max_size=25)


cuts = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def _config(folder: Path | None = None, **more: Any) -> RunConfig:
    settings = {
        "checkpoints": folder,
        "checkpoint_interval": "1h",
        "state_backend": "dict",
        "restart": restart.fixed_delay(5, "0ms"),
    }
    return RunConfig(**(settings | more))


def _run(build: Any, kind: str, scripts: Any, config: RunConfig, sink: Any, **settings: Any) -> list[Any]:
    fetch_sizes = settings.pop("fetch_sizes", None)
    source = ScriptedSource(*scripts, fetch_sizes=fetch_sizes)
    topology = build(kind, source, sink, **settings)
    assert asyncio.run(run_script(topology, source, config, executor=InlineExecutor())) is JobStatus.FINISHED
    return sorted(sink.values)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_batch_boundaries_never_change_results(kind, build, expected, reading):
    """However the input is cut, the engine gives what the oracle gives, late records and all."""
    slack = 1000 if kind == "session" else 50

    @settings(max_examples=100)
    @given(inputs(reading), cuts)
    def holds(readings: list[Any], fetch_sizes: list[int]) -> None:
        found = _run(
            build, kind, [readings], _config(), memory.sink(), fetch_sizes=fetch_sizes, out_of_orderness=f"{slack}ms"
        )
        assert found == expected(kind, readings, out_of_orderness=slack)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_agree_with_the_oracle_under_disorder_and_lateness(kind, build, expected, reading):
    """Any disorder, out-of-orderness and allowed lateness: each firing, the first and the later ones, is right."""

    @settings(max_examples=300)
    @given(inputs(reading), cuts, st.sampled_from([0, 1, 30, 99, 100, 250]), st.sampled_from([0, 1, 40, 100, 333]))
    def holds(readings: list[Any], fetch_sizes: list[int], slack: int, lateness: int) -> None:
        found = _run(
            build,
            kind,
            [readings],
            _config(),
            memory.sink(),
            fetch_sizes=fetch_sizes,
            out_of_orderness=f"{slack}ms",
            allowed_lateness=f"{lateness}ms",
        )
        assert found == expected(kind, readings, out_of_orderness=slack, allowed_lateness=lateness)

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keyed", "tumbling", "sliding", "session", "process"])
def test_the_backends_agree_through_crashes_and_checkpoints(kind, build, expected, reading):
    """Dictionaries and RocksDB, restored twice on the way, give what the oracle gives."""

    @settings(max_examples=20)
    @given(inputs(reading), cuts, st.integers(0, 25), st.integers(0, 25))
    def holds(readings: list[Any], fetch_sizes: list[int], first: int, second: int) -> None:
        script: list[Any] = list(readings)
        for place in sorted((first, second), reverse=True):
            script[place:place] = [BARRIER, CRASH]
        want = expected(kind, readings, out_of_orderness=1000)
        for backend in ("dict", "rocksdb"):
            with tempfile.TemporaryDirectory() as folder:
                config = _config(Path(folder), state_backend=backend)
                assert want == _run(
                    build,
                    kind,
                    [script],
                    config,
                    memory.sink(),
                    fetch_sizes=fetch_sizes,
                    out_of_orderness="1s",
                )

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("kind", ["keyed", "tumbling", "session", "process", "map_async"])
def test_restore_at_another_parallelism_changes_nothing(kind, backend, build, expected, reading):
    """A job that was stopped at one parallelism goes on at others, splits and key groups dealt out anew."""

    @settings(max_examples=25 if backend == "dict" else 10)
    @given(inputs(reading), st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)))
    def holds(readings: list[Any], widths: tuple[int, int, int]) -> None:
        # A key in one split only: what a keyed operator gives depends on the order in which a key's records come.
        splits = [[r for r in readings if len(r.key.encode()) == number] for number in range(3)]
        want = expected(kind, [r for split in splits for r in split], out_of_orderness=1000)
        scripts = []
        for split in splits:
            third = len(split) // 3
            scripts.append([*split[:third], Pause(), *split[third : 2 * third], Pause(), *split[2 * third :]])
        sink = memory.sink()
        with tempfile.TemporaryDirectory() as folder:
            for life, width in enumerate(widths, 1):
                source = ScriptedSource(*scripts)
                config = _config(Path(folder), state_backend=backend, parallelism=width, max_parallelism=16)
                topology = build(kind, source, sink, out_of_orderness="1s", idle_timeout=None)
                asyncio.run(_live(topology, source, config, last=life == len(widths)))
        assert sorted(sink.values) == want

    holds()


async def _live(topology: Any, source: ScriptedSource[Any], config: RunConfig, *, last: bool) -> None:
    """Until all splits pause, then stopped with a checkpoint; or to the end."""
    async with start(topology, config, executor=InlineExecutor()) as job:
        if not last:
            while len(source.at_pause) < 3:
                await job.clock.sleep(0)
            await job.drain()
        assert await job.wait() is (JobStatus.FINISHED if last else JobStatus.STOPPED)


class Bulky(ProcessFunction[str, tuple[str, int, int]]):
    """Counts the records of a key, with a state of ten kilobytes per key."""

    SEEN = ValueState("seen", tuple[int, bytes])

    def states(self) -> Any:
        return [self.SEEN]

    def open(self, context: Any) -> None:
        self.seen = context.state(self.SEEN)

    def process(self, value: str, context: Any) -> Any:
        count, bulk = self.seen.get() or (0, b"")
        self.seen.set((count + 1, bulk + value.encode() * 2_000))
        yield (value, count + 1, len(bulk))


@pytest.mark.slow
@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_memory_budget_of_a_few_entries_changes_nothing(checkpoints, tmp_path):
    """State forty times the budget: what was evicted comes back as it was, through checkpoints and crashes."""
    chance = random.Random(7)
    keys = [f"key-{number:03}" for number in range(800)]
    values = [chance.choice(keys) for _ in range(4_000)]
    script: list[Any] = list(values)
    if checkpoints:
        for place in (3_000, 2_000, 1_000):
            script[place:place] = [BARRIER, CRASH]
    source, sink = ScriptedSource(script, fetch_sizes=[1, 7, 100]), memory.sink()
    topology = Topology("bulky")
    topology.source("keys", source).key_by(lambda k: k, name="by").process(Bulky(), name="count").sink("out", sink)
    config = _config(tmp_path, state_backend="rocksdb", memory_budget="1MiB")
    assert asyncio.run(run_script(topology, source, config)) is JobStatus.FINISHED
    counts: dict[str, int] = {}
    want = []
    for value in values:
        want.append((value, counts.get(value, 0) + 1, counts.get(value, 0) * 14_000))
        counts[value] = counts.get(value, 0) + 1
    assert sink.values == want


@pytest.mark.slow
@pytest.mark.parametrize("idle_timeout", ["5s", None])
@pytest.mark.parametrize("kind", WINDOWS)
def test_windows_agree_with_the_oracle_when_a_split_falls_silent(kind, idle_timeout, build, expected, reading):
    """A split that is idle no longer holds windows back, so what it brings afterwards may be late; one that is waited for
    holds them all open, and nothing is."""

    @settings(max_examples=30)
    @given(inputs(reading), inputs(reading), inputs(reading), inputs(reading))
    def holds(early: list[Any], silent: list[Any], later: list[Any], after: list[Any]) -> None:
        # What may be late is what comes after the silence alone: the rest stands within the out-of-orderness.
        later = [*(reading(r.key, r.at + 1500, r.value) for r in later), reading("a", 2300, 1)]
        after = [reading(r.key, r.at * 3, r.value) for r in after]
        if idle_timeout is None:
            after.sort(key=lambda r: r.at)  # a split that is waited for is late by itself alone
        beat = reading("a", 701, 1)
        source = ScriptedSource(
            [*early, Pause(3), beat, Pause(3), *later, Pause(), END], [*silent, Pause(), *after, END], bounded=False
        )
        sink = memory.sink()
        topology = build(kind, source, sink, out_of_orderness="1s", idle_timeout=idle_timeout)
        asyncio.run(_through_silence(topology, source, [len(early) + 1 + len(later), len(after)]))
        in_order = [*early, *silent, beat, *later, *after]
        assert sorted(sink.values) == expected(kind, in_order, out_of_orderness=1000 if idle_timeout else 10**6)

    holds()


async def _through_silence(topology: Any, source: ScriptedSource[Any], counts: list[int]) -> None:
    """The first split to its last pause while the second is silent; then the second to its end, then the first."""
    clock = ManualClock()
    async with start(topology, _config(), clock=clock, executor=InlineExecutor()) as job:
        await job.began.wait()
        first, second = (job.measures.split("readings", split_id) for split_id in "01")
        for _ in range(100):
            if first.records == counts[0]:
                break
            await clock.run(0.25, 0.25)
        assert first.records == counts[0]
        await clock.run(1.5, 0.25)  # the look at idle splits comes every quarter of the timeout
        source.release(frozenset("1"))
        wanted = second.records + counts[1]
        for _ in range(100):
            await clock.run(0.01)
            if second.records == wanted and second.ended:
                break
        source.release()
        assert await job.wait() is JobStatus.FINISHED
