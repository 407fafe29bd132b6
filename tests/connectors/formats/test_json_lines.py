"""JSON lines: typed decoding in bulk, and bad records that stand alone."""

import json as plain_json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.connectors import formats


class Flight(msgspec.Struct):
    origin: str
    delay: float | None = None


def _bad(decoded):
    return [(bad.start, bad.reason) for bad in decoded.undecodable]


def test_only_the_fields_of_the_type_are_decoded():
    """Unknown fields are skipped, missing ones take their default."""
    decoded = formats.json(Flight).decode_lines(b'{"x":[1,{}],"origin":"JFK"}\n{"origin":"LGA","delay":3}\n')
    assert decoded.values == [Flight("JFK"), Flight("LGA", 3.0)]
    assert decoded.undecodable == []


def test_blank_lines_crlf_and_a_missing_last_newline_are_fine():
    """What editors and systems do to line ends does no harm."""
    assert formats.json().decode_lines(b"\n1\r\n\r\n  \n2\n\n3").values == [1, 2, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "truncated"),
        (b'{"origin":5}', "Expected `str`"),
        (b"{}", "missing required field `origin`"),
        (b'{"origin":"a","delay":NaN}', "malformed"),
        (b'{"origin":"a","delay":Infinity}', "malformed"),
        (b'{"origin":"a","delay":"1"}', "Expected `float | null`"),
        (b'{"origin":"\xff"}', "invalid UTF-8"),
        (b'{"x":' + b"[" * 100_000, "RecursionError"),
        (b"\x00", "malformed"),
    ],
)
def test_a_bad_record_leaves_its_neighbours(line, reason):
    """Every kind of bad line is reported where it stands, and the lines around it are decoded."""
    good = b'{"origin":"JFK"}\n'
    decoded = formats.json(Flight).decode_lines(good + line + b"\n" + good)
    assert decoded.values == [Flight("JFK"), Flight("JFK")]
    assert list(decoded.starts) == [0, 17 + len(line) + 1]
    ((start, said),) = _bad(decoded)
    assert start == 17
    assert reason in said


def test_huge_integers_are_integers_or_bad_records():
    """A number outside 64 bits does not spoil the block."""
    assert formats.json().decode_lines(b"123456789012345678901234567890\n").values == [123456789012345678901234567890]


def test_an_error_in_the_users_type_is_a_bad_record():
    """What `__post_init__` raises belongs to the record, with its name."""

    class Strict(msgspec.Struct):
        n: int

        def __post_init__(self):
            if self.n == 2:
                raise KeyError("two")

    decoded = formats.json(Strict).decode_lines(b'{"n":1}\n{"n":2}\n{"n":3}\n')
    assert [value.n for value in decoded.values] == [1, 3]
    assert _bad(decoded) == [(8, "KeyError: 'two'")]


def test_the_raw_bytes_of_a_bad_record_are_cut():
    """A huge bad line costs little memory."""
    (bad,) = formats.json().decode_lines(b"x" * 1_000_000 + b"\n").undecodable
    assert len(bad.raw) == 64 * 1024


def test_a_value_over_several_lines_is_one_record_in_both_ways():
    """Bulk decoding and decoding one by one agree on values that span lines."""
    block = b'{"origin":\n"JFK"}\n'
    alone = formats.json(Flight).decode_lines(block)
    beside_bad = formats.json(Flight).decode_lines(block + b"bad\n")
    assert alone.values == beside_bad.values == [Flight("JFK")]


def test_a_truncated_line_does_not_swallow_the_next():
    """A record cut off by a crash is refused alone."""
    decoded = formats.json(Flight).decode_lines(b'{"origin":\n{"origin":"JFK"}\n{"origin":"LGA"}\n')
    assert decoded.values == [Flight("JFK"), Flight("LGA")]
    assert [bad.start for bad in decoded.undecodable] == [0]


def test_the_beginning_of_a_value_is_left_when_more_may_follow():
    """A block that is not final gives back the bytes of its last, open record."""
    decoded = formats.json().decode_lines(b'1\n{"a":\n', final=False)
    assert (decoded.values, decoded.unfinished) == ([1], 6)


_lines = st.lists(
    st.one_of(
        st.integers().map(lambda i: plain_json.dumps({"n": i}).encode()),
        st.sampled_from([b"", b"  ", b"bad", b'{"n":', b"1}", b'{"n":1}{"n":2}', b'"\xff"', b"[1,", b"2]", b"\r"]),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(_lines, st.lists(st.integers(min_value=0, max_value=12), max_size=4))
def test_where_a_block_is_cut_changes_nothing(lines, cuts):
    """Decoding line by line with carry-over gives what decoding at once gives."""
    fmt = formats.json()
    whole = b"".join(line + b"\n" for line in lines)
    at_once = fmt.decode_lines(whole)
    got, bad, carried, base = [], [], b"", 0
    bounds = sorted({min(cut, len(lines)) for cut in cuts} | {len(lines)})
    first = 0
    for bound in bounds:
        block = carried + b"".join(line + b"\n" for line in lines[first:bound])
        decoded = fmt.decode_lines(block, final=bound == len(lines))
        got += decoded.values
        bad += [base + one.start for one in decoded.undecodable]
        taken = len(block) - decoded.unfinished
        carried, base, first = block[taken:], base + taken, bound
    assert got == at_once.values
    assert bad == [one.start for one in at_once.undecodable]


def test_messages_are_decoded_one_payload_each():
    """A bad payload is reported by its index."""
    decoded = formats.json(Flight).decode_messages([b'{"origin":"A"}', b"x", b'{"origin":"B"}'])
    assert decoded.values == [Flight("A"), Flight("B")]
    assert list(decoded.starts) == [0, 2]
    assert [one.start for one in decoded.undecodable] == [1]


def test_lines_come_back():
    """What is encoded decodes to the same."""
    fmt = formats.json(Flight)
    values = [Flight("A\n", None), Flight("B", 1.5)]
    assert fmt.decode_lines(fmt.encode_lines(values)).values == values
    assert fmt.decode_messages(fmt.encode_messages(values)).values == values
    assert fmt.describe() == "json(Flight)"
