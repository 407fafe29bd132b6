"""The list of packages in pyproject.toml, and what must lie in each."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTED = PYPROJECT["tool"]["setuptools"]["packages"]


def _folders() -> set[Path]:
    roots = [ROOT / folder for folder in PYPROJECT["tool"]["setuptools"]["package-dir"].values()]
    return {path.parent for root in roots for path in root.rglob("*.py")}


def test_every_folder_with_modules_is_listed():
    """A folder that is not listed would be missing from the installed package, and only there."""
    found = {"tidegate." + ".".join(folder.relative_to(ROOT).parts) for folder in _folders()}
    assert found == set(LISTED)


def test_no_package_is_listed_twice():
    """Each stands there once."""
    assert len(LISTED) == len(set(LISTED))


@pytest.mark.parametrize("name", sorted(LISTED))
def test_every_package_has_its_marks(name):
    """An `__init__.py` makes it a package, a `py.typed` tells type checkers to read it."""
    folder = ROOT.joinpath(*name.split(".")[1:])
    assert (folder / "__init__.py").is_file()
    assert (folder / "py.typed").is_file()


def test_the_namespace_has_no_file_of_its_own():
    """An `__init__.py` of `tidegate` would hide the packages of other distributions."""
    assert not (ROOT / "tidegate").exists()
