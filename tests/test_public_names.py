"""What is public is explained, exported from where it belongs, and tested by the suite of its kind."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "operators", "connectors")
EXPORTING = ("tidegate.engine", "tidegate.operators", "tidegate.connectors", "tidegate.engine.testing")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _definitions(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public classes and functions of a module. Overloads are explained once, by what they overload."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            decorators = {ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])}
            if "overload" not in decorators and "typing.overload" not in decorators:
                yield node


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_and_public_name_is_explained(package):
    """A docstring says what it means."""
    missing = []
    for path in MODULES:
        where = path.relative_to(ROOT)
        tree = ast.parse(path.read_text())
        if where.parts[0] != package or not tree.body:
            continue
        if not ast.get_docstring(tree):
            missing.append(str(where))
        missing += [f"{where}:{node.lineno}: {node.name}" for node in _definitions(tree) if not ast.get_docstring(node)]
    assert missing == []


@pytest.mark.parametrize("name", EXPORTING)
def test_what_a_package_exports_is_there_and_sorted(name):
    """`__all__` names what the package has, in order, and each is explained."""
    package = importlib.import_module(name)
    exported = list(package.__all__)
    assert len(exported) == len(set(exported))
    found = {public: getattr(package, public) for public in exported}
    explained = (type, FunctionType, ModuleType)
    unexplained = [
        public for public, value in found.items() if isinstance(value, explained) and not inspect.getdoc(value)
    ]
    assert unexplained == []


@pytest.mark.parametrize(
    "name", ["Stream", "KeyedStream", "WindowedStream", "Table", "ConnectedStreams", "Topology", "Job", "RunConfig"]
)
def test_every_public_method_of_the_main_classes_is_explained(name):
    """The classes that users see most have a word for every method."""
    found = getattr(importlib.import_module("tidegate.engine"), name)
    missing = [
        method
        for method, value in vars(found).items()
        if not method.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
        and not inspect.getdoc(value)
        # A setting in milliseconds or bytes is explained where the setting is.
        and not (name == "RunConfig" and method.endswith(("_ms", "_bytes")))
    ]
    assert missing == []


def _connectors() -> list[Path]:
    """The test files that stand for a connector: one per module, or per folder of modules with sources or sinks."""
    contracts = {"__init__", "source", "sink", "secret"}
    return sorted(path for path in (ROOT / "connectors").glob("*.py") if path.stem not in contracts)


@pytest.mark.parametrize("connector", _connectors(), ids=lambda path: path.stem)
def test_every_connector_is_held_to_the_contract_by_a_suite(connector):
    """Its test file has a subclass of `SourceSuite` or `SinkSuite`."""
    tests = ROOT / "tests" / "connectors" / f"test_{connector.stem}.py"
    assert tests.is_file(), f"{tests.relative_to(ROOT)} is missing"
    assert _has_suite(tests), f"{tests.relative_to(ROOT)} has no subclass of SourceSuite or SinkSuite"


def test_the_file_connector_is_held_to_the_contract_by_suites():
    """Its folder of tests has subclasses of both."""
    folder = ROOT / "tests" / "connectors" / "files"
    assert {suite for path in folder.glob("test_*.py") for suite in _has_suite(path)} >= {"SourceSuite", "SinkSuite"}


def _has_suite(path: Path) -> set[str]:
    bases = {
        ast.unparse(base).split(".")[-1]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    }
    return bases & {"SourceSuite", "SinkSuite"}


def test_every_test_says_in_one_sentence_what_holds():
    """Read from top to bottom, the tests are the specification."""
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert missing == []
