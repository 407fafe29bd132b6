"""Jobs while everything around them fails, and whether the checker sees what is wrong. The long runs are `make chaos`."""

from __future__ import annotations

import doctest
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def chaos(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports the modules beside this one, which are programs and no package."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(HERE))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(HERE) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize("module", ["schedule", "events", "checker", "sampling"])
def test_the_examples_in_the_programs_hold(module, chaos):
    """Their functions are pure, and say what they do."""
    assert doctest.testmod(chaos(module)).failed == 0


def test_a_schedule_is_the_same_for_the_same_seed_and_has_every_kind(chaos):
    """A run that failed can be repeated."""
    made = chaos("schedule")
    kinds = [*made.KINDS]
    first, again, other = (made.schedule(seed, 600, kinds) for seed in (1, 1, 2))
    assert first == again != other
    assert {fault.kind for fault in first} == set(kinds)
    assert all(a.at_s + a.lasts_s < b.at_s for a, b in pairwise(first))
    assert first[-1].at_s + first[-1].lasts_s <= 600


def _counted(numbers: list[int]) -> list[dict[str, Any]]:
    return [{"key": "a", "n": n, "total": sum(range(1, n + 1))} for n in numbers]


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ([1, 2], "count of a: the last one is 2, expected 3"),
        ([1, 2, 2, 3], "count of a: 2 where 3 was next"),
        ([1, 3, 2], "count of a: 3 where 2 was next"),
        ([1, 2, 3, 4], "count of a: 4 has total 10"),
    ],
    ids=["lost", "doubled", "out of order", "invented"],
)
def test_the_checker_sees_what_is_wrong_with_counts(numbers, problem, chaos):
    """Each of the ways in which a recovery can fail."""
    made = [{"key": "a", "at": 0, "value": value} for value in (1, 2, 3)]
    window = {"key": "a", "start_ms": 0, "n": 3, "total": 6}
    check = chaos("checker").check
    assert check(made, _counted([1, 2, 3]), [window])["ok"]
    verdict = check(made, _counted(numbers), [window])
    assert not verdict["ok"]
    assert problem in verdict["problems"][0]


@pytest.mark.parametrize("windows", [[], [(3, 6), (3, 6)], [(2, 5)]], ids=["lost", "doubled", "wrong"])
def test_the_checker_sees_what_is_wrong_with_windows(windows, chaos):
    """A window is there once, with all that belongs to it."""
    made = [{"key": "a", "at": 0, "value": value} for value in (1, 2, 3)]
    rows = [{"key": "a", "start_ms": 0, "n": n, "total": total} for n, total in windows]
    assert not chaos("checker").check(made, _counted([1, 2, 3]), rows)["ok"]


def _run(folder: Path, what: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "run.py"), what, "--folder", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_job_outlives_a_kill_and_a_network_that_is_cut(tmp_path):
    """The short form of a chaos run: every event is counted once, every window is right."""
    done = _run(tmp_path, "files", "--seconds", "3", "--seed", "8", "--only", "cut_store")
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert verdict["events"] > 15_000
    assert verdict["told"]["worker_restarting"] >= 1
    # The same output with one part of it gone is refused: the verdict means something.
    part = max((tmp_path / "out" / "counts").glob("part-*"))
    shutil.move(part, tmp_path / part.name)
    checked = subprocess.run(
        [sys.executable, str(HERE / "checker.py"), "files", str(tmp_path)], capture_output=True, check=False
    )
    assert checked.returncode == 1


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["files", "kafka"])
def test_a_job_outlives_everything_for_two_minutes(what, tmp_path):
    """With faults by chance; the seed is in the output."""
    done = _run(tmp_path, what, "--seconds", "120")
    print(done.stdout)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
