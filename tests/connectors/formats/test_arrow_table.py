"""Arrow tables and records."""

import datetime
import sys

import msgspec
import pytest
from tidegate.connectors import formats

pyarrow = pytest.importorskip("pyarrow")


class Inner(msgspec.Struct):
    a: int


class Flight(msgspec.Struct):
    origin: str
    at: datetime.datetime
    delay: float | None = None
    tags: list[str] = []
    inner: Inner | None = None


_AT = datetime.datetime(2013, 1, 1, tzinfo=datetime.UTC)


def test_records_come_back():
    """Times, nulls, lists and structs survive."""
    fmt = formats.arrow(Flight)
    values = [Flight("JFK", _AT, 1.5, ["a"], Inner(1)), Flight("LGA", _AT)]
    assert fmt.decode_table(fmt.encode_table(values, fmt.schema())).values == values


def test_a_bad_row_leaves_its_neighbours():
    """A null or a value of the wrong type is reported by its row."""
    table = pyarrow.table({"origin": ["A", None, "C"], "at": [_AT] * 3})
    decoded = formats.arrow(Flight).decode_table(table)
    assert [value.origin for value in decoded.values] == ["A", "C"]
    assert [bad.start for bad in decoded.undecodable] == [1]


def test_a_missing_column_is_refused():
    """The message names the column and those that are there."""
    with pytest.raises(ValueError, match="no column 'origin'"):
        formats.arrow(Flight).decode_table(pyarrow.table({"x": [1]}))


def test_dicts_take_their_schema_from_the_values():
    """Without a type the first values decide."""
    fmt = formats.arrow()
    assert fmt.decode_table(fmt.encode_table([{"n": 1, "s": "a"}], fmt.schema())).values == [{"n": 1, "s": "a"}]


def test_a_type_without_an_arrow_type_is_refused():
    """The message names the field."""

    class Odd(msgspec.Struct):
        n: int | str

    with pytest.raises(ValueError, match="field 'n'"):
        formats.arrow(Odd).schema()


def test_without_pyarrow_the_error_names_the_extra(monkeypatch):
    """The package works without it until it is needed."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"tidegate\[arrow\]"):
        formats.arrow(Flight).schema()
