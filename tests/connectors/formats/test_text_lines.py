"""Text lines."""

import pytest
from tidegate.connectors import formats


def test_a_line_is_a_record():
    """Line ends and blank lines are left out; spaces are kept."""
    assert formats.text().decode_lines(b"one\r\n\n two \nthree").values == ["one", " two ", "three"]


def test_invalid_utf_8_spoils_one_line():
    """The lines around it are read, and all starts are known."""
    decoded = formats.text().decode_lines(b"a\r\n\xff\nb\n")
    assert (decoded.values, list(decoded.starts)) == (["a", "b"], [0, 5])
    assert [(bad.start, bad.raw) for bad in decoded.undecodable] == [(3, b"\xff")]


def test_lines_come_back():
    """What is written is read back; a newline inside a record is refused."""
    fmt = formats.text()
    assert fmt.decode_lines(fmt.encode_lines(["a", "ü"])).values == ["a", "ü"]
    assert fmt.encode_lines([]) == b""
    with pytest.raises(ValueError, match="newline"):
        fmt.encode_lines(["a\nb"])
    assert fmt.decode_messages(fmt.encode_messages(["a"])).values == ["a"]
