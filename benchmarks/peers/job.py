"""What an engine among the peers is asked to do, in a process and a virtual environment of its own:
`python -m benchmarks.peers.job ENGINE JOB …`. Only its own libraries and the standard library are there."""

from __future__ import annotations

import argparse
import importlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..stopwatch import Stopwatch, print_result


@dataclass(frozen=True)
class PeerJob:
    """Read all of one topic, and write the results into another.

    Attributes:
        servers: of the broker.
        source: the topic to read, JSON bids with the auction as the key.
        count: records in it.
        sink: the topic to write to.
        partitions: of both.
        work: a folder for state.
        name: nobody else has it: for consumer groups and state.
    """

    servers: str
    source: str
    count: int
    sink: str
    partitions: int
    work: Path
    name: str


class FirstToLast:
    """Measures from the first record to the last: joining and leaving the group, which take seconds, do not count, nor do
    the last results' way to the broker."""

    def __init__(self, count: int) -> None:
        self.seen = 0
        self._count = count
        self._watch: Stopwatch | None = None
        self._read: dict[str, float] = {}

    def note(self) -> bool:
        """A record comes in; whether it is the last."""
        self.seen += 1
        if self._watch is None:
            self._watch = Stopwatch()
        if self.seen == self._count:
            self._read = self._watch.read()
        return self.seen == self._count

    def done(self) -> dict[str, float]:
        """What was measured.

        Raises:
            RuntimeError: not all came, or more than all.
        """
        if self.seen != self._count:
            raise RuntimeError(f"{self.seen} records came instead of {self._count}")
        return self._read | {"events": self._count}


Run = Callable[[PeerJob], dict[str, float]]

_LONGEST_S: Final = 300


def main() -> None:
    """Run the job and print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.job", description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("job", choices=("stateless", "window"))
    for name in ("servers", "source", "sink", "name"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("count", "partitions"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    given = vars(parser.parse_args())
    engine, job = given.pop("engine"), given.pop("job")
    # They have no end of stream: one that misses a record would wait for ever.
    signal.alarm(_LONGEST_S)
    run: Run = getattr(importlib.import_module(f".{engine}", __package__), job)
    print_result(run(PeerJob(**given)))


if __name__ == "__main__":
    main()
