"""Compares what a job has written with the answer: `python checker.py files FOLDER` or `python checker.py kafka SERVERS`.

It knows nothing of the engine. It reads the input itself, computes running counts and windows by brute force, and reads the
committed output. Each must hold: every event is counted once, in the order of its key; every window comes once, with
all that belongs to it; there is nothing else. The verdict is one line of JSON; the exit code is 1 when something is wrong.
"""

from __future__ import annotations

import json
import re
import sys
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from events import CLOSING, SPLITS, WINDOW_MS

Row = dict[str, Any]
_PART = re.compile(r"part-(\d+)-(\d+)-(\d+)\.jsonl")
_SHOWN = 10


class Answer:
    """What should come out, computed event by event in the order of each key."""

    def __init__(self) -> None:
        self.events = 0
        self._totals: dict[str, array[int]] = {}
        self._windows: dict[tuple[str, int], list[int]] = {}
        self._seen: dict[str, int] = {}
        self.problems: list[str] = []
        self.wrong = 0

    def take(self, event: Row) -> None:
        """One event of the input."""
        key, value = event["key"], event["value"]
        if key.startswith(CLOSING):
            return
        self.events += 1
        totals = self._totals.setdefault(key, array("q"))
        totals.append((totals[-1] if totals else 0) + value)
        window = self._windows.setdefault((key, event["at"] // WINDOW_MS * WINDOW_MS), [0, 0])
        window[0] += 1
        window[1] += value

    def count(self, row: Row) -> None:
        """The next running count of a key."""
        key, n = row["key"], row["n"]
        if key.startswith(CLOSING):
            return
        expected = self._seen.get(key, 0) + 1
        self._seen[key] = n
        totals = self._totals.get(key, array("q"))
        if n != expected:
            self._wrong(f"count of {key}: {n} where {expected} was next")
        elif n > len(totals) or row["total"] != totals[n - 1]:
            self._wrong(f"count of {key}: {n} has total {row['total']}, expected {totals[n - 1 : n].tolist()}")

    def window(self, row: Row) -> None:
        """A window."""
        if row["key"].startswith(CLOSING):
            return
        found = self._windows.pop((row["key"], row["start_ms"]), None)
        if found != [row["n"], row["total"]]:
            self._wrong(f"window {row['start_ms']} of {row['key']}: {row['n']}, {row['total']}, expected {found}")

    def missing(self) -> None:
        """What has not come in the end."""
        for key, totals in self._totals.items():
            if self._seen.get(key, 0) != len(totals):
                self._wrong(f"count of {key}: the last one is {self._seen.get(key, 0)}, expected {len(totals)}")
        for (key, start_ms), expected in self._windows.items():
            self._wrong(f"window {start_ms} of {key}: missing, or came twice; expected {expected}")

    def _wrong(self, what: str) -> None:
        self.wrong += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(what)


def check(events: Iterable[Row], counts: Iterable[Row], windows: Iterable[Row]) -> Row:
    """The verdict.

    >>> made = [{"key": "a", "at": 0, "value": 2}, {"key": "a", "at": 1, "value": 3}]
    >>> good = [{"key": "a", "n": 1, "total": 2}, {"key": "a", "n": 2, "total": 5}]
    >>> check(made, good, [{"key": "a", "start_ms": 0, "n": 2, "total": 5}])["wrong"]
    0
    >>> check(made, [*good, good[1]], [])["problems"]
    ['count of a: 2 where 3 was next', 'window 0 of a: missing, or came twice; expected [2, 5]']
    """
    answer = Answer()
    for event in events:
        answer.take(event)
    windows_expected = len(answer._windows)
    for row in counts:
        answer.count(row)
    for row in windows:
        answer.window(row)
    answer.missing()
    found = {"events": answer.events, "windows": windows_expected, "wrong": answer.wrong, "problems": answer.problems}
    return {"ok": answer.wrong == 0 and answer.events > 0, **found}


def _lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def _parts(folder: Path) -> Iterator[Row]:
    """The rows of the committed parts, in the order of their checkpoints: that of each key."""
    found = [(m, path) for path in folder.iterdir() if (m := _PART.fullmatch(path.name))]
    for _, path in sorted(found, key=lambda one: (int(one[0][2]), int(one[0][1]), int(one[0][3]))):
        yield from _lines(path)


def check_files(folder: Path) -> Row:
    """The verdict on a job from files to files."""
    made = (row for split in range(SPLITS) for row in _lines(folder / "in" / f"{split}.jsonl"))
    return check(made, _parts(folder / "out" / "counts"), _parts(folder / "out" / "windows"))


def _topic(servers: str, topic: str) -> Iterator[Row]:
    """The committed records of a topic, partition by partition: each in its order."""
    from confluent_kafka import Consumer, TopicPartition

    settings = {"bootstrap.servers": servers, "group.id": "checker", "isolation.level": "read_committed"}
    consumer = Consumer({**settings, "enable.auto.commit": False, "enable.partition.eof": True})
    try:
        for partition in consumer.list_topics(topic, timeout=30).topics[topic].partitions:
            consumer.assign([TopicPartition(topic, partition, 0)])
            while True:
                message = consumer.poll(30)
                if message is None:
                    raise SystemExit(f"{topic}/{partition}: nothing comes, and it is not the end")
                if message.error() is not None:
                    break  # the end of the partition
                yield json.loads(message.value())
    finally:
        consumer.close()


def check_kafka(servers: str) -> Row:
    """The verdict on a job from topics to topics."""
    return check(_topic(servers, "in"), _topic(servers, "counts"), _topic(servers, "windows"))


if __name__ == "__main__":
    verdict = check_files(Path(sys.argv[2])) if sys.argv[1] == "files" else check_kafka(sys.argv[2])
    print(json.dumps(verdict))
    sys.exit(not verdict["ok"])
