"""The examples in docstrings and in the README run as they are printed."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# By their real names: pytest's own collection of doctests knows the folders only, and would import them twice.
MODULES = sorted(
    "tidegate." + ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("engine", "operators", "connectors")
    for path in (ROOT / package).rglob("*.py")
)


def _has_examples(name: str) -> bool:
    parts = name.split(".")[1:]
    module, package = ROOT.joinpath(*parts).with_suffix(".py"), ROOT.joinpath(*parts, "__init__.py")
    return ">>> " in (module if module.is_file() else package).read_text()


@pytest.mark.parametrize("name", [name for name in MODULES if _has_examples(name)])
def test_the_examples_in_docstrings_hold(name, tmp_path, monkeypatch):
    """Every `>>>` gives what stands below it."""
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0


@pytest.mark.slow
def test_the_program_in_the_readme_runs_as_printed(tmp_path):
    """The first Python block that makes a topology is a whole program; it needs what stands in the README only."""
    readme = ROOT / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text() if readme.is_file() else "", re.DOTALL)
    programs = [block for block in blocks if "Topology(" in block]
    assert programs, "README.md shows no program with a Topology"
    (tmp_path / "app.py").write_text(programs[0])
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
