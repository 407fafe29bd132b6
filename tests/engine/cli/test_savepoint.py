"""`tidegate savepoint`: take, check, delete."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine import RunConfig, start
from tidegate.engine.cli.main import main

Run = Callable[..., tuple[int, str, str]]

APP = """
import msgspec
from tidegate.connectors import files, formats, memory
from tidegate.engine import Topology
from tidegate.operators import ProcessFunction, ValueState


class Sum(ProcessFunction):
    STATE = ValueState("sum", int)

    def states(self):
        return [self.STATE]

    def open(self, context):
        self.sum = context.state(self.STATE)

    def process(self, value, context):
        self.sum.set((self.sum.get() or 0) + value)
        yield self.sum.get()


class Text(Sum):
    STATE = ValueState("sum", str)


class Upgraded(Sum):
    STATE = ValueState("sum", str, version=2, upgrade=lambda version, value: str(value))


class Broken(Sum):
    STATE = ValueState("sum", str, version=2, upgrade=lambda version, value: 1 // (value - 3))


def make(function, name="sum", source="numbers", sink="out"):
    made = Topology("sums")
    numbers = made.source(source, memory.source([1, 2, 3]))
    numbers.key_by(lambda n: n, name="by").process(function, name=name).sink(sink, files.lines("out", formats.json()))
    return made


def first():
    return make(Sum())


def retyped():
    return make(Text())


def upgraded():
    return make(Upgraded())


def broken():
    return make(Broken())


def renamed():
    return make(Sum(), "total", "figures", "results")


def everything_wrong():
    return make(Text(), "sum", "figures")
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a small program that has run, and no settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in list(os.environ):
        if name.startswith("TIDEGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEGATE_STATE_BACKEND", "dict")
    Path("sums_app.py").write_text(APP)
    assert main(["run", "sums_app.py:first", "--checkpoints", "state", "--no-live", "--metrics-port", "none"]) == 0
    yield
    sys.modules.pop("sums_app", None)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: exit code, stdout, stderr."""

    def run_one(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*map(str, arguments)])
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    return run_one


@pytest.fixture
def check(run: Run) -> Run:
    """`tidegate savepoint check` of a topology of the program."""
    return lambda name, *more: run("savepoint", "check", f"sums_app.py:{name}", "--checkpoints", "state", *more)


def test_a_topology_that_did_not_change_fits(check: Run) -> None:
    """Each node is named with what becomes of it."""
    code, out, _ = check("first")
    assert (code, out.splitlines()) == (
        0,
        [
            "sums from checkpoint 1 (id 1):",
            "  source numbers: goes on where it was, splits: 1",
            "  operator by: keeps no state",
            "  operator sum: restored as it is",
            "    sum (keyed): restored as it is",
            "  sink out: its output is committed first, pieces: 1",
            "it fits",
        ],
    )


def test_every_problem_comes_at_once_and_the_exit_code_says_so(check: Run) -> None:
    """A changed type and a source that is gone, each with its remedy."""
    code, out, err = check("everything_wrong")
    assert (code, err) == (1, "")
    assert "operator sum: REFUSED" in out
    assert "`sum` was int and is now str; declare the state with upgrade=" in out
    assert (
        "source 'numbers' has offsets in checkpoint 1 but is not in the topology (was it renamed to 'figures'?)" in out
    )
    assert out.endswith("it does not fit\n")


def test_an_upgrade_is_told_with_its_versions(check: Run) -> None:
    """And with --values it is run over every value."""
    code, out, _ = check("upgraded")
    assert code == 0
    assert "    sum (keyed): upgraded from version 1 to 2\n" in out
    code, out, _ = check("upgraded", "--values")
    assert code == 0
    assert "3 values read, 0 cannot be restored\nit fits\n" in out


def test_an_upgrade_that_fails_on_a_value_is_found(check: Run) -> None:
    """By --values only: the declarations fit."""
    assert check("broken")[0] == 0
    code, out, _ = check("broken", "--values")
    assert code == 1
    assert "3 values read, 3 cannot be restored" in out
    assert "upgrade from version 1 failed on 3: ZeroDivisionError" in out
    assert "it does not fit" in out


def test_renames_are_checked_and_then_run(check: Run, run: Run) -> None:
    """Operator, source and sink at once; what the check lets through, a run starts from."""
    renames = ("--rename", "sum=total", "--rename", "numbers=figures", "--rename", "out=results")
    assert check("renamed")[0] == 1
    code, out, _ = check("renamed", *renames)
    assert code == 0
    assert "operator total, renamed from sum: restored as it is" in out
    assert "source figures, renamed from numbers: goes on where it was" in out
    assert "sink results, renamed from out" in out
    started = ("run", "sums_app.py:renamed", "--checkpoints", "state", "--json", "--metrics-port", "none")
    assert run(*started)[0] == 2
    for _ in range(2):  # the second time there is nothing left to rename
        assert run(*started, *renames)[0] == 0


def test_the_same_for_machines(check: Run) -> None:
    """With --json; the exit code is the same."""
    code, out, _ = check("broken", "--values", "--json")
    found = json.loads(out)
    assert (code, found["fits"], found["checkpoint_id"], found["problems"]) == (1, False, 1, [])
    (state,) = next(node["states"] for node in found["nodes"] if node["operator_id"] == "sum")
    assert (state["outcome"], state["was_version"], state["version"]) == ("upgraded", 1, 2)
    assert found["values"]["values"] == found["values"]["faulty"] == 3


def test_other_key_groups_are_told(check: Run) -> None:
    """They are no problem."""
    code, out, _ = check("first", "--set", "max_parallelism=32")
    assert code == 0
    assert "  128 key groups become 32: every key is assigned to one anew\n" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("savepoint check sums_app.py:first", "there is nothing to check against: give --checkpoints DIR"),
        ("savepoint check sums_app.py:first --checkpoints state --restore no", "there is no savepoint 'no' to restore"),
        ("savepoint check sums_app.py:first --checkpoints empty", "there is no checkpoint to check against"),
        ("savepoint check sums_app.py:first --checkpoints state --rename sum", "'sum': write OLD=NEW"),
        ("savepoint check sums_app.py:first --checkpoints state --rename a=b --rename c=b", "the new name of two"),
        ("savepoint delete state nothing", "there is no savepoint 'nothing' in"),
        ("savepoint delete state 3", "savepoint name '3' cannot be used"),
        ("savepoint take state s1", "no job is running in state"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(line: str, message: str, run: Run) -> None:
    """On stderr, and no traceback."""
    code, out, err = run(*line.split())
    assert (code, out) == (1 if "take" in line else 2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_savepoint_is_deleted_with_what_only_it_names(run: Run) -> None:
    """The checkpoints stay whole."""
    from sums_app import first  # written by the fixture

    async def stop_with_savepoint() -> None:
        async with start(first(), RunConfig(checkpoints="other", state_backend="dict")) as job:
            await job.began.wait()
            await job.stop("deploy")

    asyncio.run(stop_with_savepoint())
    assert "savepoint 'deploy'" in run("checkpoints", "list", "other")[1]
    files = [*Path("other/sums/files").glob("*/*")]
    code, out, _ = run("savepoint", "delete", "other", "deploy")
    assert (code, out) == (0, f"savepoint deploy deleted, and {len(files)} files that only it named\n")
    assert [*Path("other/sums/files").glob("*/*")] == []
    assert "no checkpoint has been completed yet" in run("checkpoints", "list", "other")[1]
