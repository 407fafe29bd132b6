"""Rows of state as files."""

from __future__ import annotations

import builtins
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tidegate.engine.errors import ConfigError
from tidegate.engine.state.export import StateRow
from tidegate.engine.state.export_files import write_json, write_table


def row(key: Any, value: Any, **more: Any) -> StateRow:
    return StateRow("count", 0, "totals", value, key, **more)


def json_of(*rows: StateRow) -> list[dict[str, Any]]:
    out = io.BytesIO()
    assert write_json(rows, out) == len(rows)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def table_of(path: Path, file_format: str, *rows: StateRow) -> pa.Table:
    assert write_table(lambda: rows, path, file_format) == len(rows)
    if file_format == "parquet":
        return pq.read_table(path)
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def test_json_has_one_object_per_line() -> None:
    """Members without a value are left out."""
    assert json_of(row("JFK", 3), row("LGA", {"n": 1}, time_ms=60)) == [
        {"operator_id": "count", "subtask": 0, "state": "totals", "value": 3, "key": "JFK"},
        {"operator_id": "count", "subtask": 0, "state": "totals", "value": {"n": 1}, "key": "LGA", "time_ms": 60},
    ]


def test_json_takes_what_msgpack_gives() -> None:
    """Bytes, times, tuples; a map key that JSON cannot hold is written as Python shows it."""
    found = json_of(row(("a", 1), b"\xff"), row(datetime(2013, 1, 1, tzinfo=UTC), 1), row("x", {(1, 2): 3}))
    assert [line["key"] for line in found][:2] == [["a", 1], "2013-01-01T00:00:00Z"]
    assert found[0]["value"] == "/w=="
    assert found[2]["value"] == {"(1, 2)": 3}


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_a_table_has_a_column_per_attribute(tmp_path: Path, file_format: str) -> None:
    """Of the type of its values."""
    table = table_of(tmp_path / "out", file_format, row("JFK", {"n": 1}, time_ms=60), row("LGA", {"n": 2}))
    assert table.column_names == [
        "operator_id",
        "subtask",
        "state",
        "value",
        "key",
        "time_ms",
        "map_key",
        "expires_at_ms",
    ]
    assert table.column("key").to_pylist() == ["JFK", "LGA"]
    assert table.column("value").to_pylist() == [{"n": 1}, {"n": 2}]
    assert table.column("time_ms").to_pylist() == [60, None]


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_a_column_of_several_types_holds_json_text(tmp_path: Path, file_format: str) -> None:
    """Nothing is lost, whatever the state holds."""
    table = table_of(tmp_path / "out", file_format, row("JFK", [1, "a"]), row(7, 2**70), row(None, "x"))
    assert table.column("key").to_pylist() == ['"JFK"', "7", None]
    assert table.column("value").to_pylist() == ['[1,"a"]', str(2**70), '"x"']


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_an_empty_state_gives_an_empty_table(tmp_path: Path, file_format: str) -> None:
    """With all its columns."""
    assert table_of(tmp_path / "out", file_format).num_rows == 0


def test_types_that_differ_between_chunks_are_widened(tmp_path: Path) -> None:
    """The first rows do not decide for the last ones."""
    many = [row("k", None)] * 16_384 + [row("k", 1)] * 16_384 + [row("k", 0.5)]
    values = table_of(tmp_path / "out", "parquet", *many).column("value")
    assert str(values.type) == "double"
    assert values.to_pylist()[-2:] == [1.0, 0.5]


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the format that needs none."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'tidegate\[arrow\]', or use --format json"):
        write_table(lambda: [row("a", 1)], tmp_path / "out", "parquet")
