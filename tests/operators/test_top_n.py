"""The records that rank highest, running and per window, against brute-force oracles."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidegate.engine.errors import OperatorError
from tidegate.engine.testing import OperatorHarness
from tidegate.operators import windows
from tidegate.operators.changes import Change, ChangeKind
from tidegate.operators.top_n import RetractingTopN, TopN
from tidegate.operators.windowed import window_top_n


class Bid(msgspec.Struct, frozen=True):
    """A record of these tests: `n` tells those of one price apart."""

    price: int | None
    n: int


PRICES = st.one_of(st.integers(0, 6), st.none())
INPUT = st.lists(st.tuples(st.sampled_from("ab"), PRICES), max_size=25)


def applied(changes: list[Change[Any]], keys: list[Any]) -> dict[Any, list[Any]]:
    """The rows of each key once all changes are made. A row that goes must be there."""
    rows: dict[Any, list[Any]] = {}
    for key, change in zip(keys, changes, strict=True):
        own = rows.setdefault(key, [])
        if change.adds:
            own.append(change.value)
        else:
            own.remove(change.value)
    return rows


def best(bids: list[Bid], n: int, smallest: bool) -> list[Bid]:
    """The first `n`, those of one price in the order in which they came."""
    ranked = [bid for bid in bids if bid.price is not None]
    return sorted(ranked, key=lambda bid: bid.price if smallest else -bid.price)[:n]  # type: ignore[return-value,operator]


@pytest.mark.parametrize(("backend", "examples"), [("dict", 30), pytest.param("rocksdb", 2, marks=pytest.mark.slow)])
def test_after_every_record_the_changes_lead_to_the_best(backend: Any, examples: int) -> None:
    """Whatever the backend, restored after every record."""
    settings(max_examples=examples, deadline=None)(
        given(INPUT, st.integers(1, 4), st.booleans(), st.just(backend))(leads)
    )()


def leads(records: list[tuple[str, int | None]], n: int, smallest: bool, backend: Any) -> None:
    """Pushes the records one by one, and then at once."""
    operator: TopN[Bid] = TopN(n, "price", smallest=smallest, type=Bid)
    seen: dict[str, list[Bid]] = {"a": [], "b": []}
    with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
        for number, (key, price) in enumerate(records):
            seen[key].append(Bid(price, number))
            h.push([seen[key][-1]], [number], [key])
            rows = applied(h.values, h.keys)
            for own, bids in seen.items():
                assert sorted(rows.get(own, []), key=repr) == sorted(best(bids, n, smallest), key=repr)
        assert all(change.kind in (ChangeKind.INSERT, ChangeKind.DELETE) for change in h.values)
        one_by_one = (h.output, h.keys)
    with OperatorHarness(operator) as h:
        bids = [Bid(price, number) for number, (_, price) in enumerate(records)]
        h.push(bids, range(len(records)), [key for key, _ in records])
        assert (h.output, h.keys) == one_by_one


def moves(draw: Any) -> list[tuple[str, bool, Bid]]:
    """Changes of two keys; only rows that are there go."""
    rows: dict[str, list[Bid]] = {"a": [], "b": []}
    out = []
    for _ in range(draw(st.integers(0, 40))):
        key = draw(st.sampled_from("ab"))
        if rows[key] and draw(st.booleans()):
            row = rows[key].pop(draw(st.integers(0, len(rows[key]) - 1)))
            out.append((key, False, row))
        else:
            row = Bid(draw(PRICES), draw(st.integers(0, 3)))
            rows[key].append(row)
            out.append((key, True, row))
    return out


def of_rows(bids: list[Bid], n: int, smallest: bool) -> list[Bid]:
    """The first `n`, those of one price by their encoding."""
    ranked = sorted((bid for bid in bids if bid.price is not None), key=msgspec.msgpack.encode)
    return sorted(ranked, key=lambda bid: bid.price if smallest else -bid.price)[:n]  # type: ignore[return-value,operator]


@pytest.mark.parametrize(("backend", "examples"), [("dict", 30), pytest.param("rocksdb", 2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("head", [2, 32])
def test_rows_that_go_make_room_for_the_next_best(
    backend: Any, examples: int, head: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every change the rows are the best of those that are there, also when the best have been used up."""
    monkeypatch.setattr("tidegate.operators.retractable_rows._HEAD", head)

    @settings(max_examples=examples, deadline=None)
    @given(st.data(), st.integers(1, 3), st.booleans())
    def check(data: st.DataObject, n: int, smallest: bool) -> None:
        there: dict[str, list[Bid]] = {"a": [], "b": []}
        operator: RetractingTopN[Bid] = RetractingTopN(n, "price", smallest=smallest, type=Bid)
        with OperatorHarness(operator, backend=backend, memory_budget_bytes=300) as h:
            for key, adds, row in moves(data.draw):
                kind = ChangeKind.UPDATE_AFTER if adds else ChangeKind.UPDATE_BEFORE
                h.push([Change(kind, row)], keys=[key])
                there[key].append(row) if adds else there[key].remove(row)
                rows = applied(h.values, h.keys)
                for own, bids in there.items():
                    assert sorted(rows.get(own, []), key=repr) == sorted(of_rows(bids, n, smallest), key=repr)
            assert "unmatched" not in h.counters

    check()


def test_many_retractions_are_cheap() -> None:
    """Five thousand rows, the best retracted one after the other: the table is gone through about once per root."""
    scans = 0
    with OperatorHarness(RetractingTopN[int](1, None, type=int), restore_every_step=False) as h:  # type: ignore[arg-type]
        rows = h.node.operator._own._rest  # type: ignore[attr-defined]
        items = rows.items

        def counted(key: Any) -> Any:
            nonlocal scans
            scans += 1
            return items(key)

        rows.items = counted
        h.push([Change(ChangeKind.INSERT, n) for n in range(5000)], keys=["a"] * 5000)
        h.clear().push([Change(ChangeKind.DELETE, n) for n in range(4999, -1, -1)], keys=["a"] * 5000)
        assert [c.value for c in h.values if c.adds] == list(range(4998, -1, -1))
    assert scans < 200


def test_a_retraction_of_nothing_is_counted() -> None:
    """And changes nothing."""
    with OperatorHarness(RetractingTopN[Bid](2, "price", type=Bid)) as h:
        h.push([Change(ChangeKind.DELETE, Bid(1, 1)), Change(ChangeKind.INSERT, Bid(1, 1))], keys=["a", "a"])
        assert h.values == [Change(ChangeKind.INSERT, Bid(1, 1))]
        assert h.counters["unmatched"] == 1


def test_a_window_gives_the_best_of_its_records() -> None:
    """Sliding windows put theirs together; of equal ranks the first that came stands first."""
    operator = window_top_n(windows.sliding("20ms", "10ms"), 2, "price", record_type=Bid)
    with OperatorHarness(operator) as h:
        h.push([Bid(5, 0), Bid(7, 1), Bid(7, 2), Bid(None, 3), Bid(9, 4)], [1, 12, 14, 15, 25], ["a"] * 5).watermark(
            100
        )
        assert [(r.start_ms, [bid.n for bid in r.values]) for r in h.values] == [
            (-10, [0]),
            (0, [1, 2]),
            (10, [4, 1]),
            (20, [4]),
        ]


def test_a_window_keeps_no_more_than_it_gives() -> None:
    """A million records leave `n`."""
    operator = window_top_n(windows.tumbling("1h"), 3, lambda n: n * 7 % 1000, smallest=True)
    with OperatorHarness(operator, restore_every_step=False) as h:
        h.push(range(10_000), range(10_000), ["a"] * 10_000)
        (acc,) = h.node.operator._panes.read(3_600_000).values()  # type: ignore[attr-defined]
        assert len(acc.values) == 3
        assert h.end().values[0].values == [0, 1000, 2000]


def test_a_rank_that_fails_names_its_record() -> None:
    """Which is not there."""
    with OperatorHarness(TopN[Any](1, "price")) as h, pytest.raises(OperatorError, match="price"):
        h.push([{"price": 1}, {"cost": 2}], keys=["a", "a"])


@pytest.mark.parametrize("operator", [TopN, RetractingTopN])
def test_none_of_nothing_is_refused(operator: Any) -> None:
    """At least one record must be asked for."""
    with pytest.raises(ValueError, match="at least 1"):
        operator(0, "price")
