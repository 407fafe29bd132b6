"""CSV: typed columns, quotes, and rows that go wrong."""

import dataclasses
import datetime
import re
from typing import TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import formats


class Flight(msgspec.Struct):
    origin: str
    delay: float | None = None
    cancelled: bool = False


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Row(TypedDict):
    n: int
    day: datetime.date


def _decode(fmt, text, **options):
    header, _, rest = text.partition("\n")
    return fmt.with_header(header.encode()).decode_lines(rest.encode(), **options)


def test_cells_become_the_types_of_the_fields():
    """The header may have other columns and another order than the type."""
    text = "delay,x,origin,cancelled\n1.5,?,JFK,true\n,?,LGA,0\n"
    assert _decode(formats.csv(Flight), text).values == [Flight("JFK", 1.5, True), Flight("LGA")]


def test_dataclasses_typed_dicts_and_dicts_work_too():
    """All types with named fields are columns."""
    assert _decode(formats.csv(Point), "y,x\n2,1\n").values == [Point(1, 2)]
    assert _decode(formats.csv(Row), "n,day\n1,2013-01-31\n").values == [{"n": 1, "day": datetime.date(2013, 1, 31)}]
    assert _decode(formats.csv(), "n,who\n1,\n").values == [{"n": "1", "who": ""}]


def test_null_values_are_none_where_none_is_allowed():
    """`NA` is None in an optional column, and itself in a column of strings."""
    fmt = formats.csv(Flight, null_values=["NA", ""])
    assert _decode(fmt, "origin,delay\nNA,NA\nJFK,\n").values == [Flight("NA"), Flight("JFK")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("JFK,late", "column 'delay' holds 'late'"),
        ("JFK", "1 cells, but the header names 2 columns"),
        ("JFK,1,2", "3 cells, but the header names 2 columns"),
        ('"JFK"x,1', "expected after"),
        ('JFK,"1', "expected after|not closed"),
    ],
)
def test_a_bad_row_leaves_its_neighbours(row, reason):
    """Every kind of bad row is reported alone; a stray quote does not swallow what follows."""
    decoded = _decode(formats.csv(Flight), f"origin,delay\nA,1\n{row}\nB,2\nC,3\n")
    assert decoded.values == [Flight("A", 1.0), Flight("B", 2.0), Flight("C", 3.0)]
    assert [bad.start for bad in decoded.undecodable] == [4]
    assert list(decoded.starts) == [0, 5 + len(row), 9 + len(row)]
    assert re.search(reason, decoded.undecodable[0].reason)


def test_invalid_utf_8_spoils_one_row():
    """The bytes around it are good."""
    fmt = formats.csv(Flight).with_header(b"origin,delay")
    decoded = fmt.decode_lines(b"A,1\n\xff,2\nB,3\n")
    assert [value.origin for value in decoded.values] == ["A", "B"]
    assert decoded.undecodable[0].reason == "invalid UTF-8"


def test_a_quoted_cell_may_hold_line_ends():
    """A record over several lines is one record, and its start is where it begins."""
    decoded = _decode(formats.csv(Flight), 'origin,delay\nA,1\n"B\n""b""",2\nC,3\n')
    assert [value.origin for value in decoded.values] == ["A", 'B\n"b"', "C"]
    assert [decoded.starts[i] for i in range(3)] == [0, 4, 16]


def test_an_open_quote_waits_for_more():
    """A block that is not final gives back the row that may go on."""
    decoded = _decode(formats.csv(Flight), 'origin,delay\nA,1\n"B\n', final=False)
    assert ([value.origin for value in decoded.values], decoded.unfinished) == (["A"], 3)


def test_without_multiline_a_quote_ends_with_its_line():
    """The format for byte ranges never looks beyond a line."""
    fmt = formats.csv(Flight, multiline=False)
    assert fmt.splittable
    assert not formats.csv(Flight).splittable
    decoded = _decode(fmt, 'origin,delay\n"A\nB,x\nC,3\n')
    assert decoded.values == [Flight("C", 3.0)]
    assert [bad.start for bad in decoded.undecodable] == [0, 3]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"delay", "no column 'origin'"),
        (b"\n", "empty"),
        (b"origin,origin", "twice"),
        (b"\xff", "UTF-8"),
        (b'"origin', "cannot be read"),
    ],
)
def test_a_wrong_header_is_refused(header, reason):
    """The message names the column or what is wrong."""
    with pytest.raises(ValueError, match=reason):
        formats.csv(Flight).with_header(header)


def test_a_byte_order_mark_is_no_part_of_the_header():
    """Spreadsheets write one."""
    assert formats.csv(Flight).with_header(b"\xef\xbb\xbforigin\r\n").decode_lines(b"A\r\n").values == [Flight("A")]


def test_without_a_header_the_fields_are_the_columns():
    """Their order is the order of the type."""
    fmt = formats.csv(Point, header=False, delimiter=";")
    assert fmt.decode_lines(b"1;2\n").values == [Point(1, 2)]
    assert fmt.decode_messages([b"1;2", b"x;2"]).values == [Point(1, 2)]
    with pytest.raises(ValueError, match="needs a type"):
        formats.csv(header=False)


def test_settings_are_checked():
    """A wrong delimiter or a string of null values is refused."""
    with pytest.raises(ValueError, match="one character"):
        formats.csv(delimiter="::")
    with pytest.raises(ValueError, match="list of strings"):
        formats.csv(null_values="NA")
    with pytest.raises(ValueError, match="named columns"):
        formats.csv(int)


def test_an_untyped_record_with_another_column_cannot_be_written():
    """The header is fixed by the first record."""
    fmt = formats.csv()
    bound = fmt.with_header(fmt.header([{"a": 1}]))
    with pytest.raises(ValueError, match="'b'"):
        bound.encode_lines([{"b": 1}])


_cell = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.builds(Flight, _cell, st.none() | st.floats(allow_nan=False), st.booleans()), max_size=8))
def test_rows_come_back(values):
    """What is written is read back, whatever the cells hold."""
    fmt = formats.csv(Flight)
    bound = fmt.with_header(fmt.header(values))
    decoded = bound.decode_lines(bound.encode_lines(values))
    assert decoded.undecodable == []
    assert decoded.values == values
