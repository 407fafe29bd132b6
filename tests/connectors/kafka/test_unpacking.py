"""From the bytes of a fetch to record batches."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from tidegate.connectors.kafka.offsets import Place
from tidegate.connectors.kafka.read_ahead import Offsets, ReadAhead, offsets_of
from tidegate.connectors.kafka.unpacking import unpack


def batch(base_offset: int, values: list[bytes], *, producer: int = -1, transactional: bool = False) -> bytes:
    """A record batch as a broker stores it."""
    builder = DefaultRecordBatchBuilder(2, 0, int(transactional), producer, 0, 0, 1 << 20)
    for n, value in enumerate(values):
        builder.append(n, 1000 + n, None, value, [])
    data = bytearray(builder.build())
    data[0:8] = base_offset.to_bytes(8, "big")  # outside of the checksum
    return bytes(data)


def values_of(data: bytes, offset: int, aborted=None) -> tuple[list[bytes], int, bool]:
    found = unpack(data, aborted, offset)
    return [record.value for packed in found.batches for record in packed.records], found.next_offset, found.damaged


def test_a_batch_that_is_cut_off_is_asked_for_again():
    """What came whole before it counts."""
    whole, cut = batch(5, [b"a", b"b"]), batch(7, [b"c"])
    assert values_of(whole + cut[:-1], 5) == ([b"a", b"b"], 7, False)
    assert values_of(cut[:-1], 7) == ([], 7, False)
    assert values_of(b"", 7) == ([], 7, False)


def test_a_damaged_batch_is_found_out_and_what_came_before_it_counts():
    """By its checksum, wherever the damage is."""
    good, bad = batch(0, [b"a"]), batch(1, [b"bcdefgh"])
    for position in range(21, len(bad)):
        damaged = bad[:position] + bytes([bad[position] ^ 1]) + bad[position + 1 :]
        assert values_of(good + damaged, 0) == ([b"a"], 1, True)


def test_aborted_batches_are_left_out_and_their_offsets_passed_over():
    """Only those of the producer, from the first offset of the transaction on."""
    data = b"".join(
        [
            batch(0, [b"plain"]),
            batch(1, [b"committed before"], producer=7, transactional=True),
            batch(2, [b"aborted", b"aborted"], producer=7, transactional=True),
            batch(4, [b"of another"], producer=8, transactional=True),
            batch(5, [b"idempotent"], producer=7),
        ]
    )
    assert values_of(data, 0, [(7, 2)]) == ([b"plain", b"committed before", b"of another", b"idempotent"], 6, False)
    assert unpack(data, [(7, 2)], 0).batches[1].next_offset == 4
    nothing_left = unpack(batch(2, [b"aborted"], producer=7, transactional=True), [(7, 2)], 2)
    assert [(list(packed.records), packed.next_offset) for packed in nothing_left.batches] == [([], 3)]


def test_bytes_are_counted_once():
    """However many batches share them."""
    data = b"".join(batch(n, [b"x" * n]) for n in range(7))
    assert sum(packed.n_bytes for packed in unpack(data, None, 0).batches) == len(data)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("position", [0, 3, 5])
@pytest.mark.parametrize("end", [None, 5, 7])
def test_records_are_given_out_from_the_position_to_the_end(limit, position, end):
    """Whatever the limit, and wherever in a batch position and end lie."""
    ahead = ReadAhead("t-0", Place("t", 0), position, end)
    ahead.add(unpack(batch(0, [b"0", b"1", b"2", b"3"]) + batch(4, [b"4", b"5", b"6"]), None, position))
    taken, offsets = [], []
    while not (ahead.empty or ahead.finished):
        records, _ = ahead.take(limit)
        taken += [int(record.value) for record in records]
        offsets.append(ahead.position)
        assert ahead.position == (taken[-1] + 1 if taken else position)
    stop = 7 if end is None else end
    assert (taken, offsets[-1:]) == (list(range(position, stop)), [stop] if position < stop else [])
    assert ahead.n_bytes == 0 or ahead.finished


def test_a_jump_moves_the_position_behind_what_was_fetched():
    """The offsets between belong to no record."""
    ahead = ReadAhead("t-0", Place("t", 0), 0, None)
    ahead.add(unpack(batch(0, [b"0", b"1"]), None, 0))
    assert [record.value for record in ahead.take(1)[0]] == [b"0"]
    ahead.jump(10)
    assert ([record.value for record in ahead.take(5)[0]], ahead.position, ahead.fetch_offset) == ([b"1"], 10, 10)
    ahead.jump(20)
    assert (ahead.take(5), ahead.position) == (([], 0), 20)


def test_positions_are_text_when_somebody_asks():
    """Without gaps a range holds them; with gaps each is kept."""
    found = unpack(batch(3, [b"a", b"b"]) + batch(9, [b"c"]), None, 3)
    records = [record for packed in found.batches for record in packed.records]
    assert (offsets_of(records[:2]), offsets_of(records)) == (range(3, 5), [3, 4, 9])
    places = Offsets(Place("t", 1), offsets_of(records))
    assert (list(places), places[2], list(places[1:])) == (
        ["t[1]@3", "t[1]@4", "t[1]@9"],
        "t[1]@9",
        ["t[1]@4", "t[1]@9"],
    )
