"""Windows over a restart with another parallelism at every step: results are those of a job that never stopped."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate.engine.metrics.measures import OperatorMeasures
from tidegate.engine.runtime.node import NodeContext, OperatorNode
from tidegate.engine.state import DictBackend, finish_at_once
from tidegate.engine.state.backend import StoreSpec
from tidegate.engine.state.key_groups import KeyGrouper, key_group_range, subtask_of
from tidegate.engine.testing import ManualClock
from tidegate.operators import agg, windows
from tidegate.operators.batch import Batch
from tidegate.operators.windowed import window_aggregate

GROUPS = 16
AGGREGATES = {"n": agg.count(), "total": agg.sum()}

Step = int | list[tuple[int, str, int]]
"""A watermark, or a batch of (timestamp, key, value)."""


class Capture:
    """Keeps the values it is given."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def process(self, batch: Batch[Any]) -> None:
        self.values += batch.values

    def watermark(self, watermark_ms: int) -> None:
        pass

    def idle(self) -> None:
        pass

    def end(self) -> None:
        pass


class Subtasks:
    """The subtasks of one operator, which can be snapshotted and started anew in another number."""

    def __init__(self, operator: Any, folder: Path) -> None:
        self._operator = operator
        self._folder = folder
        self._serial = 0
        self._grouper = KeyGrouper(GROUPS)
        self.out, self.late = Capture(), Capture()
        self._nodes: list[OperatorNode] = []
        self.start(1, [])

    def start(self, parallelism: int, snapshots: list[Any]) -> None:
        """Start so many subtasks from the snapshots of all before."""
        backend, clock = DictBackend(), ManualClock()
        for subtask in range(parallelism):
            operator = copy.copy(self._operator)
            spec = StoreSpec(
                operator_id="window",
                subtask=subtask,
                parallelism=parallelism,
                key_groups=key_group_range(subtask, parallelism, GROUPS),
                max_parallelism=GROUPS,
                descriptors=operator.states(),
                uses_timers=operator.uses_timers,
                memory_budget_bytes=1 << 20,
                directory=self._path(),
                now_ms=clock.now_ms,
            )
            store = backend.restore(spec, snapshots) if snapshots else backend.create(spec)
            measures = OperatorMeasures(operator_id="window", subtask=subtask)
            context = NodeContext("window", clock, measures, store, subtask=subtask, parallelism=parallelism)
            context.side_targets = {"late": [self.late]}
            node = OperatorNode(operator, context, measures, store)
            node.targets = [self.out]
            node.open()
            self._nodes.append(node)

    def rescale(self, parallelism: int) -> None:
        """Snapshot all, stop, and start anew. Nobody tells the new subtasks a watermark."""
        snapshots = []
        for node in self._nodes:
            node.prepare_snapshot(1)
            assert node.store is not None
            files = finish_at_once(node.store.begin_snapshot(self._path()))
            snapshots.append((files.snapshot, files.directory))
        self.stop()
        self.start(parallelism, snapshots)

    def step(self, step: Step) -> tuple[list[Any], list[Any]]:
        """The results, sorted, and the late values of a step."""
        self.out.values, self.late.values = [], []
        if isinstance(step, int):
            for node in self._nodes:
                node.watermark(step)
        else:
            for timestamp, key, value in step:
                owner = subtask_of(self._grouper.group(key), len(self._nodes), GROUPS)
                self._nodes[owner].process(Batch([value], [timestamp], [key]))
        shown = [tuple(getattr(r, name) for name in r.__struct_fields__) for r in self.out.values]
        return sorted(shown), list(self.late.values)

    def stop(self) -> None:
        """Close everything."""
        for node in self._nodes:
            node.close()
            assert node.store is not None
            node.store.close()
        self._nodes.clear()

    def _path(self) -> Path:
        self._serial += 1
        return self._folder / str(self._serial)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.integers(-10, 60),
            st.lists(
                st.tuples(st.integers(-5, 50), st.sampled_from("abcdef"), st.integers(0, 9)),
                min_size=1,
                max_size=6,
            ),
        ),
        max_size=8,
    ),
    st.lists(st.sampled_from([1, 2, 3, 5]), min_size=8, max_size=8),
    st.sampled_from([windows.tumbling("10ms"), windows.sliding("12ms", "4ms"), windows.session("7ms")]),
    st.sampled_from(["0ms", "9ms"]),
)
def test_a_rescale_at_every_step_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[Step],
    parallelisms: list[int],
    assigner: windows.Assigner,
    lateness: str,
) -> None:
    """What has fired does not fire again, what is late stays late, and nothing is lost, whoever owns the key now."""
    operator = window_aggregate(assigner, AGGREGATES, allowed_lateness=lateness)
    steady = Subtasks(operator, tmp_path_factory.mktemp("steady"))
    rescaled = Subtasks(operator, tmp_path_factory.mktemp("rescaled"))
    try:
        for step, parallelism in zip(steps, parallelisms, strict=False):
            rescaled.rescale(parallelism)
            assert rescaled.step(step) == steady.step(step)
    finally:
        steady.stop()
        rescaled.stop()
