"""What goes wrong in one simulation, and how often: drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random
from typing import Literal

Order = Literal["first", "any", "last"]


@dataclass(frozen=True)
class Weather:
    """Rates are per call to the outside world, durations in seconds of virtual time.

    Attributes:
        order: which of the callbacks that are ready runs next: the first that became so, any, or mostly the last.
        step_s: how long a callback may take.
        call_s: how long a call to the outside world may take.
        refused: the storage refuses, and nothing has happened.
        unanswered: the storage does what it is asked, and the answer is lost.
        torn: a process that dies while it writes leaves the first half of what it wrote.
        write_s: how long a sink may take to write a batch, besides that.
        source_away: a source cannot be read.
        sink_away: a sink cannot be written, or its commit is refused.
        commit_unanswered: a sink commits, and the answer is lost.
        forgets: a sink does away with what was prepared and not committed for `forgets_after_s`.
        crashes: how many processes die.
        stops: the share of deaths that are none: the process stands still, another is started, and the first one
            comes back.
        rescales: whether each start may have another parallelism.
        jumps: whether the clock of each process may be wrong by up to an hour.
        pieces: whether others run between two calls of one blocking function; else it runs in one piece, and faster.
        clears_at_s: from then on the outside world does what it is asked, so that every job can come to its end.
    """

    order: Order = "first"
    step_s: float = 0.0001
    call_s: float = 0.0
    refused: float = 0.0
    unanswered: float = 0.0
    torn: bool = False
    write_s: float = 0.0
    source_away: float = 0.0
    sink_away: float = 0.0
    commit_unanswered: float = 0.0
    forgets_after_s: float | None = None
    crashes: int = 0
    stops: float = 0.0
    rescales: bool = False
    jumps: bool = False
    pieces: bool = False
    clears_at_s: float = 0.0

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong but the order of things."""
        return not (
            self.refused
            or self.unanswered
            or self.source_away
            or self.sink_away
            or self.commit_unanswered
            or self.forgets_after_s is not None
            or self.crashes
        )

    def describe(self) -> str:
        """What differs from fair weather."""
        changed = [
            f"{setting.name}={getattr(self, setting.name)!r}"
            for setting in fields(self)
            if getattr(self, setting.name) != setting.default
        ]
        return ", ".join(changed) or "fair"


def draw(dice: Random) -> Weather:
    """The weather of a seed. Each kind of trouble is absent in half of them, so that others are seen alone."""

    def rate(most: float) -> float:
        return 0.0 if dice.random() < 0.5 else round(most * dice.random() ** 2, 4)

    call_s = dice.choice((0.0, 0.001, 0.02, 0.2))
    stops = dice.choice((0.0, 0.0, 0.5))
    return Weather(
        order=dice.choice(("first", "any", "any", "last")),
        step_s=dice.choice((0.00002, 0.0002, 0.001)),
        call_s=call_s,
        refused=rate(0.02),
        unanswered=rate(0.02),
        torn=dice.random() < 0.3,
        source_away=rate(0.05),
        sink_away=rate(0.05),
        commit_unanswered=rate(0.3),
        # As with a broker, that is longer than a checkpoint takes.
        forgets_after_s=dice.choice((None, None, None, 3.0, 10.0)) if call_s < 0.2 else None,
        crashes=dice.choice((0, 1, 1, 2, 3, 5)),
        stops=stops,
        rescales=dice.random() < 0.3,
        jumps=dice.random() < 0.2,
        pieces=stops > 0 or dice.random() < 0.2,
        clears_at_s=dice.choice((1.0, 5.0, 20.0)),
        write_s=dice.choice((0.0, 0.0, 0.02, 0.1)),
    )
