"""A dry run over every value of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.engine import CorruptionError, RunConfig, Topology, run
from tidegate.engine.checkpoint.storage import CheckpointStorage
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.plan import make_plan
from tidegate.engine.runtime.recovery import fit_to
from tidegate.engine.savepoint.values import FAULTS_SHOWN, CheckedValues, check_values
from tidegate.engine.testing import ManualClock
from tidegate.operators import ProcessFunction
from tidegate.operators.state import ListState, ValueState

NUMBERS = list(range(20))


class Keeps(ProcessFunction[Any, Any]):
    """Keeps a value and a list for every key."""

    def __init__(self, value: ValueState[Any]) -> None:
        self._value = value

    def states(self) -> Any:
        return [self._value, ListState("list", int)]

    def open(self, context: Any) -> None:
        self.value = context.state(self._value)
        self.list = context.state(ListState("list", int))

    def process(self, value: Any, context: Any) -> Any:
        self.value.set(value)
        self.list.add(value)
        yield value


def topology(value: ValueState[Any], key_type: Any = None) -> Topology:
    made = Topology("keeps")
    keyed = made.source("in", memory.source(NUMBERS)).key_by(lambda n: n, name="by", key_type=key_type)
    keyed.process(Keeps(value), name="keeps").sink("out", memory.sink())
    return made


@pytest.fixture(params=["dict", "rocksdb"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStorage:
    """The last checkpoint of a job that kept twenty numbers."""
    config = RunConfig(checkpoints=tmp_path, state_backend=request.param, parallelism=2)
    run(topology(ValueState("value", int)), config, live=False)
    return CheckpointStorage(tmp_path, "keeps", InlineExecutor(), ManualClock())


async def checked(storage: CheckpointStorage, now: Topology) -> CheckedValues:
    plan = make_plan(now, 1, 128)
    fitted = fit_to(plan, RunConfig(), (await storage.list())[-1].manifest)  # type: ignore[arg-type]  # it is whole
    assert fitted.problems == []
    return await check_values(storage, fitted, plan, frozenset(), InlineExecutor())


async def test_values_that_stay_as_they_are_are_read(storage: CheckpointStorage) -> None:
    """All of them, of every state and subtask."""
    assert await checked(storage, topology(ValueState("value", int))) == CheckedValues(2 * len(NUMBERS))


async def test_the_upgrade_runs_over_every_value(storage: CheckpointStorage) -> None:
    """Once for each, and nothing is written."""
    seen: list[int] = []

    def upgrade(version: int, value: int) -> str:
        seen.append(value)
        return f"{version}:{value}"

    upgraded: ValueState[str] = ValueState("value", str, version=2, upgrade=upgrade)
    assert await checked(storage, topology(upgraded)) == CheckedValues(2 * len(NUMBERS))
    assert sorted(seen) == NUMBERS


async def test_failures_are_counted_and_the_first_are_shown(storage: CheckpointStorage) -> None:
    """With the key, the value and what the function raised, or what it gave that is not of the new type."""

    def upgrade(version: int, value: int) -> Any:
        return value if value % 2 else 1 // (value % 2)

    broken: ValueState[str] = ValueState("value", str, version=2, upgrade=upgrade)
    found = await checked(storage, topology(broken))
    assert (found.values, found.faulty, len(found.faults)) == (2 * len(NUMBERS), len(NUMBERS), FAULTS_SHOWN)
    problems = {int(fault.key): fault.problem for fault in found.faults}
    assert all("state 'value' of operator 'keeps'" in problem for problem in problems.values())
    for key, problem in problems.items():
        assert ("ZeroDivisionError" if key % 2 == 0 else "is no str") in problem


async def test_keys_that_are_not_of_the_new_key_type_are_found(storage: CheckpointStorage) -> None:
    """They could not be read when they are needed."""
    found = await checked(storage, topology(ValueState("value", int), key_type=str))
    assert found.faulty == found.values == 2 * len(NUMBERS)
    assert "a stored key is not a key of type <class 'str'>" in found.faults[0].problem


async def test_a_damaged_file_is_named(storage: CheckpointStorage, tmp_path: Path) -> None:
    """Files are verified before they are read."""
    for path in (tmp_path / "keeps" / "files").glob("*/*"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + b"?")
    with pytest.raises(CorruptionError, match="does not match its SHA-256"):
        await checked(storage, topology(ValueState("value", int)))
