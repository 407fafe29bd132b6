"""A user's function folded over the records of a key."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators.reduce import Reduce

RECORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-9, 9)), max_size=20)


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.integers(0, 20))
def test_each_record_gives_what_its_key_has_come_to(records: list[tuple[str, int]], cut: int) -> None:
    """The first value of a key as it is, then the function of what there was and the value."""
    with OperatorHarness(Reduce(lambda a, b: a * 2 + b)) as h:
        for part in (records[:cut], records[cut:]):
            h.push([v for _, v in part], keys=[k for k, _ in part])
        state: dict[str, int] = {}
        wanted = []
        for key, value in records:
            state[key] = state[key] * 2 + value if key in state else value
            wanted.append(state[key])
        assert h.values == wanted


def test_the_failing_record_is_named() -> None:
    """The user's error is the cause."""
    with OperatorHarness(Reduce(lambda a, b: a // b)) as h, pytest.raises(OperatorError) as caught:
        h.push([1, 0], keys=["a", "a"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
