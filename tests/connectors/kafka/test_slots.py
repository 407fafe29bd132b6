"""Which transactional ids are used again, and when."""

from __future__ import annotations

from tidegate.connectors.kafka.slots import Slot, Slots, attempt_of, id_name
from tidegate.connectors.kafka.transactions import Described, ProducerId


def _slots() -> tuple[Slots, Slot]:
    slots = Slots("copy-out", 3, 1)
    number, name = slots.new()
    return slots, slots.prepare(Slot(number, name, ProducerId(7, 0)), 12, 0.0)


def test_an_id_says_whose_it_is():
    """Prefix, attempt, subtask and number; only ids of just this prefix are taken for its own."""
    assert id_name("copy-out", 3, 1, 0) == "copy-out-a3-s1-0"
    assert [attempt_of(name, "copy-out") for name in ("copy-out-a3-s1-0", "copy-out-2-a3-s1-0", "other-a3-s1-0")] == [
        3,
        None,
        None,
    ]


def test_a_committed_transactions_id_is_used_again():
    """When the coordinator says that just this transaction is complete."""
    slots, slot = _slots()
    assert slots.settle({slot.transactional_id: Described("CompleteCommit", ProducerId(7, 0))}, [slot]) == []
    assert (slots.prepared, slots.reuse(), slots.reuse()) == ([], slot, None)


def test_the_id_of_a_transaction_that_waits_is_left_alone():
    """To touch it would abort it."""
    for state in ("Ongoing", "PrepareCommit"):
        slots, slot = _slots()
        assert slots.settle({slot.transactional_id: Described(state, ProducerId(7, 0))}, [slot]) == []
        assert (slots.prepared, slots.reuse()) == ([slot], None)


def test_an_id_that_was_fenced_or_aborted_or_forgotten_is_never_used_again():
    """Whoever raised the fence has a reason; the writer says that the transaction is gone."""
    name = _slots()[1].transactional_id
    for described in [
        {},
        {name: Described("CompleteAbort", ProducerId(7, 0))},
        {name: Described("CompleteCommit", ProducerId(7, 1))},
        {name: Described("Empty", ProducerId(8, 0))},
    ]:
        slots, slot = _slots()
        assert slots.settle(described, [slot]) == [slot]
        assert (slots.prepared, slots.reuse()) == ([], None)
