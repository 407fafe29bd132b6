"""What outlives the processes: time, dice, the storage, the streams outside, and the record of what happened."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import msgspec

from .blocking import Threads
from .loop import VirtualTime
from .weather import Weather

if TYPE_CHECKING:
    from .process import Process

START_MS: Final = 1_700_000_000_000
_LAST_LINES: Final = 40
_CHANCE: Final = re.compile(r"files/\w\w/\w+|pid \d+")
"""What differs between equal runs: databases write the time into their files."""


class World:
    """The outside of one simulation.

    Args:
        dice: all chance comes from it.
        weather: what goes wrong.
        expected: per sink, the records that a run without trouble gives; None for that run itself.
        on_line: called with every line of the trace.

    Attributes:
        objects: the storage; an obstore store in memory.
        violation: what is wrong, once something is.
        digest: of all lines so far: equal runs have equal ones.
    """

    def __init__(
        self,
        dice: Random,
        weather: Weather,
        expected: dict[str, Counter[str]] | None,
        threads: Threads,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        from obstore.store import MemoryStore

        self.dice = dice
        self.weather = weather
        self.expected = expected
        self.threads = threads
        self.time = VirtualTime(START_MS)
        self.objects = MemoryStore()
        self.ledgers: dict[str, Any] = {}
        self.violation: str | None = None
        self.digest = 0
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._on_line = on_line

    def tell(self, process: Process | None, what: str) -> None:
        """A line of the trace."""
        who = "world" if process is None else f"process {process.number}"
        line = f"{self.time.now:10.6f}  {who:10}  {what}"
        self.digest = crc32(_CHANCE.sub("", line).encode(), self.digest)
        self.last_lines.append(line)
        if self._on_line is not None:
            self._on_line(line)

    def violate(self, what: str) -> None:
        """Something is wrong. The first is kept."""
        if self.violation is None:
            self.violation = what
            self.tell(None, f"VIOLATION: {what}")

    def happens(self, rate: float) -> bool:
        """Whether something goes wrong now: a throw of the dice, for as long as the weather is bad."""
        return rate > 0 and self.dice.random() < rate and self.time.now < self.weather.clears_at_s

    def call_delay(self) -> float:
        """How long this call to the outside takes: mostly short, sometimes long."""
        return self.weather.call_s * self.dice.random() ** 3

    def write_delay(self) -> float:
        """How long a sink takes to write, besides that."""
        return self.weather.write_s and self.weather.write_s * self.dice.random()


def canonical(record: Any) -> str:
    """A record as text, equal for equal records. A Struct and a dict of the same content are not equal."""
    try:
        text = msgspec.json.encode(record, order="deterministic").decode()
    except (TypeError, ValueError):
        text = repr(record)
    return f"{type(record).__name__} {text}"
