"""Who may know whom, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "operators", "connectors")
OPERATOR_CONTRACTS = {"batch", "errors", "fields", "operator", "state", "state_handles", "time", "watermarks"}
CONNECTOR_CONTRACTS = {"formats", "sink", "source"}


def _modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, full dotted name from the root folder, whether it is relative) of every import, also inside functions."""
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, False
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                above = folder[: len(folder) - node.level + 1]
                module = ".".join([*above, *([module] if module else [])])
            # `from .. import agg` and `from ..agg import x` both name `agg`.
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}", bool(node.level)


def _found(package: str, wrong: str) -> list[str]:
    """The imports in a package whose name starts with `wrong`."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in _modules(package)
        for line, name, _ in _imports(path)
        if name == wrong or name.startswith(f"{wrong}.")
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_inside_the_packages_are_relative(package):
    """Neither the installed name nor the folder's name is used: both could make a second copy of every class."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in _modules(package)
        for line, name, relative in _imports(path)
        if not relative and name.split(".")[0] in (*PACKAGES, "tidegate")
    ]
    assert wrong == []


def test_operators_know_neither_connectors_nor_the_engine():
    """What is computed does not depend on what runs it."""
    assert _found("operators", "connectors") + _found("operators", "engine") == []


def test_connectors_know_of_operators_only_what_moves_and_time():
    """The outside world does not depend on what is computed. A change is what moves in an update stream, as a batch is
    elsewhere: a format of a database's log gives nothing else."""
    allowed = ("operators.batch.", "operators.changes.", "operators.time.")
    found = _found("connectors", "operators") + _found("connectors", "engine")
    assert [line for line in found if not line.split(": ")[1].startswith(allowed)] == []


def test_the_engine_knows_of_connectors_only_the_contracts():
    """No connector is known by name, except to the demonstration, which is a program of its own."""
    found = [line for line in _found("engine", "connectors") if not line.startswith("engine/demo/")]
    known = {line.split(": ")[1].split(".")[1] for line in found}
    assert known <= CONNECTOR_CONTRACTS, found


def test_only_the_fluent_face_knows_operators_by_name():
    """The rest of the engine knows contracts."""
    found = [
        line
        for line in _found("engine", "operators")
        if not line.startswith(("engine/fluent/", "engine/demo/", "engine/testing/"))
        and line.split(": ")[1].split(".")[1] not in OPERATOR_CONTRACTS
    ]
    assert found == []


def test_nothing_imports_the_folders_under_their_own_names():
    """`import engine` from the root of the repository would be a second copy of every class."""
    folders = ("tests", "benchmarks", "examples")
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for line, name, relative in _imports(path)
        if not relative and name.split(".")[0] in PACKAGES
    ]
    assert wrong == []


BANNED = {
    "pickle": (),
    "marshal": (),
    "shelve": (),
    "cloudpickle": (),
    "threading": ("engine/executor.py", "engine/testing/simulate/blocking.py"),
    "multiprocessing": ("engine/testing/simulate/simulate.py",),
    "concurrent": ("engine/executor.py", "engine/testing/simulate/blocking.py"),
    "unittest": (),
}


@pytest.mark.parametrize("module", [*BANNED])
def test_modules_that_are_used_nowhere_or_in_one_place(module):
    """Nothing is pickled, and there are threads in the executor only, the real one and the simulated one."""
    found = [line for package in PACKAGES for line in _found(package, module)]
    assert [line for line in found if not line.startswith(BANNED[module])] == []


# Calls that only one file may make: a dotted name and the files.
SEAMS = {
    "time.time": (),
    "time.time_ns": ("engine/clock.py",),
    "time.monotonic": ("engine/clock.py",),
    "time.monotonic_ns": (),
    "time.perf_counter": (),
    "time.perf_counter_ns": (),
    "time.sleep": (),
    "datetime.now": (),
    "datetime.utcnow": (),
    "datetime.today": (),
    "asyncio.create_task": (),
    "asyncio.ensure_future": (),
    "asyncio.to_thread": (),
    "asyncio.sleep": ("engine/clock.py",),
    "loop.run_in_executor": (),
    "random.random": (),
    "random.randint": (),
    "random.randrange": (),
    "random.choice": (),
    "random.shuffle": (),
    "random.uniform": (),
    "random.seed": (),
}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def test_time_tasks_and_chance_come_through_their_seams():
    """Clock, executor, task group and random generators are handed in, so that a job runs under simulated time."""
    wrong = []
    for package in PACKAGES:
        for path in _modules(package):
            name = str(path.relative_to(ROOT))
            if name.startswith("engine/demo/"):
                continue  # a program of its own, which kills its own processes
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = _dotted(node.func)
                    # Letting others run is no waiting.
                    if called == "asyncio.sleep" and ast.unparse(node.args[0]) == "0":
                        continue
                    # Jitter comes from a generator that is handed in under the name `random`.
                    if called == "random.random" and name == "engine/restart.py":
                        continue
                    if called in SEAMS and not name.startswith(SEAMS[called] or ("-",)):
                        wrong.append(f"{name}:{node.lineno}: {called}")
    assert wrong == []


@pytest.mark.slow
def test_heavy_libraries_wait_until_they_are_needed():
    """Importing the engine loads none of them."""
    heavy = [
        "aiokafka",
        "confluent_kafka",
        "fastavro",
        "faust",
        "google.protobuf",
        "jsonschema_rs",
        "pyarrow",
        "polars",
        "rich",
        "typer",
        "obstore",
        "rocksdict",
        "prometheus_client",
        "duckdb",
        "numpy",
        "pandas",
        "uvloop",
    ]
    code = f"import sys, tidegate.engine; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip() == "[]"
