"""States as tables of DuckDB."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from tidegate.engine import ConfigError
from tidegate.engine.query import tables
from tidegate.engine.query.tables import StateDatabase, StateTable
from tidegate.engine.state.backend import StateSchema
from tidegate.engine.state.export import StateRow


def rows_of(*values: Any) -> list[StateRow]:
    return [StateRow("by-rest", 0, "total", value, key=n) for n, value in enumerate(values)]


def asked(folder: Path, sql: str, rows: list[StateRow], text: str = "any") -> list[tuple[Any, ...]]:
    """The answer of a database with one table, "by-rest".total."""
    database = StateDatabase(folder)
    try:
        table = StateTable("by-rest", StateSchema("total", "keyed", 1, (text,)))
        database.add(table, lambda: rows)
        assert database.rows[table] == len(rows)
        return list(database.query(sql)[1])
    finally:
        database.close()


def test_a_state_is_a_table_of_its_operators_schema(tmp_path: Path) -> None:
    """Names that SQL does not take as they are, are quoted."""
    assert StateTable("by-rest", StateSchema("total", "keyed", 1, ("int",))).name == '"by-rest".total'
    assert StateTable("totals", StateSchema("timers.event", "window", 1, ("bool",))).name == 'totals."timers.event"'
    assert StateTable("order", StateSchema("all", "keyed", 1, ("int",))).name == '"order"."all"'
    assert asked(tmp_path, 'SELECT sum("value") FROM "by-rest".total', rows_of(1, 2, 3), "int") == [(6,)]


def test_a_column_gets_wider_when_a_later_row_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From whole numbers to others, from numbers to text; no row is lost."""
    monkeypatch.setattr(tables, "_CHUNK_ROWS", 2)
    for number, (values, expected) in enumerate(
        [([1, 2, 3.5], [1.0, 2.0, 3.5]), ([1, 2, "x"], ["1", "2", "x"]), ([1, 2, 2**63], ["1", "2", str(2**63)])]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = asked(folder, 'SELECT "value" FROM "by-rest".total ORDER BY key', rows_of(*values))
        assert [value for (value,) in found] == expected


def test_an_empty_state_is_an_empty_table(tmp_path: Path) -> None:
    """With its columns."""
    assert asked(tmp_path, 'SELECT key, n FROM "by-rest".total', [], "{n: int}") == []


@pytest.mark.parametrize("missing", ["duckdb", "pyarrow"])
def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """With the extra that brings it."""
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name == missing:
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=rf"needs {missing}: pip install 'tidegate\[query\]'"):
        StateDatabase(tmp_path)
