"""What was frozen has its turn in order, each entry once, whatever is taken out in between."""

from __future__ import annotations

from tidegate.engine.state.lineup import Lineup, NestedLineup


def test_each_key_has_one_turn() -> None:
    """In order; who comes later is lined up when all others have had theirs."""
    entries = dict.fromkeys("abcde")
    lineup = Lineup[str]()
    taken = []
    while entries:
        for key in lineup.take(entries, 2):
            taken.append(key)
            del entries[key]
        if len(taken) == 2:
            entries["f"] = None
    assert taken == list("abcdef")


def test_a_key_that_has_left_still_has_its_turn() -> None:
    """Whoever takes it looks whether it is there."""
    entries = dict.fromkeys("abc")
    lineup = Lineup[str]()
    assert lineup.take(entries, 1) == ["a"]
    del entries["b"]
    assert lineup.take(entries, 9) == ["b", "c"]


def test_small_dicts_come_whole_and_large_ones_in_parts() -> None:
    """A whole one is the dict itself; of one in parts those that have left in between are not given."""
    tables = {1: {"a": 1}, 2: dict.fromkeys("bcdefg", 2), 3: {"h": 3}}
    lineup = NestedLineup[int, str]()
    portions = lineup.take(tables, 3)
    assert portions == [(1, {"a": 1}), (2, {"b": 2, "c": 2})]
    assert portions[0][1] is tables.pop(1)
    for key in "bcd":
        del tables[2][key]
    assert lineup.take(tables, 2) == [(2, {"e": 2})]
    del tables[2]["e"]
    assert lineup.take(tables, 9) == [(2, {"f": 2, "g": 2}), (3, {"h": 3})]


def test_an_empty_dict_takes_a_turn_as_well() -> None:
    """So that a thousand of them do not come at once."""
    lineup = NestedLineup[int, str]()
    assert lineup.take({1: {}, 2: {}, 3: {}}, 2) == [(1, {}), (2, {})]


def test_nobody_waits_after_clearing() -> None:
    """What is there then is lined up afresh."""
    lineup = NestedLineup[int, str]()
    lineup.take({1: dict.fromkeys("abc", 0)}, 1)
    lineup.clear()
    assert lineup.take({2: {"z": 0}}, 1) == [(2, {"z": 0})]
