"""Bytes as they are."""

import pytest
from tidegate.connectors import formats
from tidegate.engine.testing.format_suite import FormatSuite


class TestRaw(FormatSuite):
    """No payload is bad."""

    def format(self):
        return formats.raw()

    def values(self):
        return [b"", b"\0\xff", b"{"]


@pytest.mark.parametrize("value", ["text", None, 7, [1]], ids=repr)
def test_only_bytes_are_written(value):
    """Text has to be encoded by who knows how."""
    with pytest.raises(TypeError, match=f"raw\\(\\) writes bytes, not {type(value).__name__}"):
        formats.raw().encode_messages([b"a", value])
