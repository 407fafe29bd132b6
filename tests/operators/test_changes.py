"""What a record of an update stream says."""

from __future__ import annotations

import msgspec
import pytest
from tidegate.operators.changes import Change, ChangeKind


@pytest.mark.parametrize(("kind", "adds"), [("+I", True), ("-U", False), ("+U", True), ("-D", False)])
def test_a_change_adds_a_row_or_takes_one_away(kind, adds):
    """Insert and the new side of an update add."""
    assert Change(ChangeKind(kind), "row").adds is adds


def test_a_change_is_stored_and_read_as_what_it_was():
    """In state and in flight."""
    change = Change(ChangeKind.UPDATE_BEFORE, 3)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(change), type=Change[int]) == change
