"""What only the parts themselves show; `test_agg.py` holds their results against naive computations."""

from __future__ import annotations

from datetime import date

import pytest
from tidegate.operators.parts import edge_part, storable


def test_first_and_last_go_by_the_timestamp() -> None:
    """Not by the order in which records came; of equal timestamps the first that came, or the last."""
    for newest, wanted in ((False, "c"), (True, "d")):
        part = edge_part(None, newest=newest)
        slots = part.empty()
        for value, timestamp in (("a", 5), ("b", 9), ("c", 1), ("x", 1), ("y", 9), ("d", 9)):
            part.add(slots, value, timestamp)
        assert slots[1] == wanted


def test_builtin_values_are_storable_and_others_name_the_remedy() -> None:
    """A date would come back as a string."""
    for value in (None, True, 1, 1.5, "a", b"a", [1], {"a": 1}):
        assert storable(value) is value
    with pytest.raises(TypeError, match="type=date"):
        storable(date(2013, 1, 1))
