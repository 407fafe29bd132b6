"""Records that meet a table of which every subtask has a copy."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import Joined
from tidegate.operators.broadcast_join import BroadcastJoin
from tidegate.operators.table_input import TableInput


def joined(**settings: Any) -> BroadcastJoin[Any]:
    """The operator for rates by currency, looked up by the first letters of a record."""
    return BroadcastJoin(TableInput(int), **({"on": lambda text: text[:3]} | settings))


@pytest.mark.parametrize("backend", ["dict", "rocksdb"])
@pytest.mark.parametrize("how", ["inner", "left"])
def test_a_record_meets_the_row_that_is_there(backend, how):
    """Looked up by what `on` gives, in a stream without keys, restored after every step."""
    with OperatorHarness(joined(how=how), backend=backend) as h:
        h.push([1, 2], keys=["EUR", "USD"], input=1).push(["EUR 5", "CHF 6"], [10, 20])
        h.push([3, None], keys=["EUR", "USD"], input=1).push(["EUR 7", "USD 8"], [30, 40])
        found = [("EUR 5", 1, 10), ("CHF 6", None, 20), ("EUR 7", 3, 30), ("USD 8", None, 40)]
        assert h.output == [(Joined(a, b), at) for a, b, at in found if b is not None or how == "left"]


@pytest.mark.parametrize("how", ["inner", "left"])
def test_a_record_may_match_any_number_of_rows(how):
    """As a function of the record and the table says."""

    def up_to(value: int, table: Any) -> Any:
        return (row for row in table.values() if row <= value)

    operator = BroadcastJoin(TableInput(int), match=up_to, how=how, select=lambda value, row: (value, row))
    with OperatorHarness(operator) as h:
        h.push([1, 2, 3], keys=["a", "b", "c"], input=1).push([2, 0], [10, 20], ["x", "y"])
        assert h.output == [((2, 1), 10), ((2, 2), 10), ((0, None), 20)][: 2 if how == "inner" else 3]
        assert h.keys == ["x", "x", "y"][: len(h.values)]


def test_a_record_that_user_code_fails_on_goes_where_it_is_told():
    """Its other pairs too, when `select` fails on one of them only they go."""
    operator = joined(select=lambda text, rate: 6 // rate, on_error="dead_letter")
    with OperatorHarness(operator) as h:
        h.push([0, 2], keys=["EUR", "USD"], input=1).push(["EUR", 7, "USD"])
        assert h.values == [3]
        assert [letter.value for letter in h.side("failed")] == [7, Joined("EUR", 0)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"how": "outer"}, "use one of 'inner', 'left'"),
        ({"on": None}, "either on=, the key"),
        ({"match": lambda value, table: []}, "either on=, the key"),
        ({"on_error": "ignore"}, "on_error='ignore' is not known"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    """One clear line when the topology is built."""
    with pytest.raises(ValueError, match=message):
        joined(**settings)


def test_a_table_that_forgets_by_itself_is_refused():
    """The copies would differ."""
    with pytest.raises(ValueError, match="leave ttl out"):
        BroadcastJoin(TableInput(int, ttl="1h"), on=str)
