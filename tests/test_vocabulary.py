"""The project's words: one for each idea, in every identifier."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "operators", "connectors")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

AFFIXES = re.compile(
    r"(Manager|Helper|Helpers|Utils?|Impl)$|^_?(Base|Abstract|Internal|Default)[A-Z]|_(utils?|helpers?|manager)$"
)
WORDS = re.compile(r"(^|_)(epoch|epochs|tasklet|punctuator|frontier|rebalance|serde|changelog)(_|$)", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


@pytest.mark.parametrize("banned", [AFFIXES, WORDS], ids=["affixes", "words"])
def test_no_identifier_uses_a_banned_word(banned):
    """Names say what a thing is; one idea has one word."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in MODULES
        for line, name in [(0, path.stem), *_names(ast.parse(path.read_text()))]
        if banned.search(name)
    ]
    assert found == []


def test_nothing_is_left_for_later():
    """What is there is whole."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_privacy_is_in_names_and_not_in_files():
    """What is public, the packages' `__init__` say; files have plain names."""
    assert [
        str(path.relative_to(ROOT)) for path in MODULES if path.stem.startswith("_") and path.stem != "__init__"
    ] == []
