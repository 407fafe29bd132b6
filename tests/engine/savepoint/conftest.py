"""What the tests of savepoints share: manifests in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tidegate.connectors.source import Split
from tidegate.engine.checkpoint.manifest import Manifest, OperatorEntry, SplitEntry, SubtaskState
from tidegate.engine.state.backend import StateSchema, StoreSnapshot


def operator(name: str, *schemas: StateSchema, kind: str = "process") -> OperatorEntry:
    """What a manifest says about an operator with these states in one subtask."""
    return OperatorEntry(kind, 1, (SubtaskState(StoreSnapshot("dict", name, 0, (0, 128), schemas)),))


@pytest.fixture
def entry_of() -> Callable[..., OperatorEntry]:
    """Makes entries of operators: `entry_of("count", StateSchema(...), kind="process")`."""
    return operator


@pytest.fixture
def manifest_of() -> Callable[..., Manifest]:
    """Makes manifests of checkpoint 7: `manifest_of({"count": entry}, sources=("flights",), sinks=("out",))`."""

    def make(
        operators: dict[str, OperatorEntry] | None = None, sources: Any = (), sinks: Any = (), **more: Any
    ) -> Manifest:
        return Manifest(
            job="job",
            topology="flights",
            topology_version="1",
            fingerprint="abc",
            checkpoint_id=7,
            attempt=1,
            triggered_at_ms=0,
            completed_at_ms=0,
            max_parallelism=more.pop("max_parallelism", 128),
            operators=operators or {},
            sources={name: {"0": SplitEntry(Split("0"), 3, False, 5, 3)} for name in sources},
            committables={name: [{"part": 1}] for name in sinks},
            **more,
        )

    return make
