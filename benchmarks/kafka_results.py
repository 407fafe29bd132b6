"""Where the sides of a Kafka scenario write, and whether what they wrote is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec

from . import answers
from .data import bids_file
from .kafka_topics import create, delete, read_back
from .scenario import BenchmarkError, Figures, Setup

Write = Callable[[Setup, str], Figures]
"""A side that writes into the topic that it is given."""


def results_topic(setup: Setup, side: str) -> str:
    """The topic of a side in one repetition."""
    return f"{setup.run_name}-{side}"


def into_topic(side: str, write: Write, setup: Setup) -> Figures:
    """Give a side a topic of its own."""
    topic = results_topic(setup, side)
    create(setup.kafka.servers, topic)
    return write(setup, topic)


def writing_side(side: str, write: Write) -> tuple[str, Callable[[Setup], Figures]]:
    """A side by its name."""
    return side, partial(into_topic, side, write)


def check(answer: str, n_bids: int, setup: Setup, side: str, *, updates: bool = False) -> None:
    """Compare all committed records of a side's topic with an answer, and remove the topic.

    Args:
        answer: its name.
        n_bids: how many of the bids the side took.
        setup: of the repetition.
        side: whose results.
        updates: it wrote a result for each record: the last one of each window counts.

    Raises:
        BenchmarkError: they differ.
    """
    topic, output = results_topic(setup, side), setup.output(side)
    output.mkdir()
    rows = output / "all.jsonl"
    read_back(setup.kafka.servers, topic, rows)
    delete(setup.kafka.servers, topic)
    if updates:
        rows.write_bytes(only_last(rows.read_bytes()))
    answers.check(answer, replace(setup, events=n_bids, bids=bids_file(setup.bids.parent, n_bids)), side)
    rows.unlink()


class Update(msgspec.Struct):
    """A window's result so far, of an engine that gives one for each record."""

    key: int
    start_ms: int
    end_ms: int
    n: int
    total: int


def only_last(lines: bytes) -> bytes:
    """The last update of each window, which is its result. Updates of a key come in order.

    >>> only_last(b'{"key":1,"start_ms":0,"end_ms":9,"n":1,"total":5}\\n{"key":1,"start_ms":0,"end_ms":9,"n":2,"total":8}')
    b'{"key":1,"start_ms":0,"end_ms":9,"n":2,"total":8}\\n'
    """
    last: dict[tuple[int, int], Update] = {}
    for update in msgspec.json.Decoder(Update).decode_lines(lines):
        before = last.get((update.key, update.start_ms))
        if before is not None and update.n != before.n + 1:
            raise BenchmarkError(f"{before} is followed by {update}: an update is missing or doubled")
        last[update.key, update.start_ms] = update
    return msgspec.json.Encoder().encode_lines(list(last.values()))
