"""What goes wrong, and when: made from a seed, and the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

KINDS: dict[str, tuple[float, float]] = {
    "kill_engine": (0.0, 0.0),
    "pause_engine": (1.0, 6.0),  # shorter and longer than the supervisor waits for a sign of life
    "zombie": (4.0, 6.0),
    "kill_store": (1.0, 4.0),
    "pause_store": (1.0, 5.0),
    "slow_store": (4.0, 8.0),
    "stall_store": (2.0, 6.0),
    "cut_store": (1.0, 3.0),
    "full_disk": (3.0, 6.0),
    "clock_forward": (3.0, 8.0),
    "clock_back": (3.0, 8.0),
    "kill_broker": (1.0, 3.0),
    "pause_broker": (1.0, 5.0),
    "stall_broker": (2.0, 6.0),
    "cut_broker": (1.0, 3.0),
}
"""Each kind, and the shortest and longest time in seconds that it lasts."""

OF_KAFKA = frozenset(kind for kind in KINDS if kind.endswith("_broker"))

_CALM_S = (2.0, 6.0)
_WARM_UP_S = 1.0


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        at_s: seconds since the engine is at work.
        kind: one of `KINDS`.
        lasts_s: seconds until it is mended.
        kills_engine: whether the engine is killed in the middle of it.
    """

    at_s: float
    kind: str
    lasts_s: float
    kills_engine: bool = False

    def __str__(self) -> str:
        return f"{self.at_s:7.1f} s  {self.kind} for {self.lasts_s:.1f} s" + (
            ", and the engine is killed meanwhile" if self.kills_engine else ""
        )


def schedule(seed: int, seconds: float, kinds: list[str]) -> list[Fault]:
    """The faults of a run. Each kind comes up before one comes up again; a third of those that last kill the engine too.

    >>> schedule(7, 60, ["kill_engine", "cut_store"]) == schedule(7, 60, ["kill_engine", "cut_store"])
    True
    >>> sorted({fault.kind for fault in schedule(7, 60, ["kill_engine", "cut_store"])})
    ['cut_store', 'kill_engine']
    """
    chance = random.Random(f"chaos {seed}")
    faults: list[Fault] = []
    deck: list[str] = []
    at = _WARM_UP_S
    while True:
        if not deck:
            deck = chance.sample(kinds, len(kinds))
        kind = deck.pop()
        lasts = round(chance.uniform(*KINDS[kind]), 1)
        doubled = chance.random() < 1 / 3 and kind not in ("kill_engine", "pause_engine", "zombie")
        if at + lasts > seconds:
            return faults
        faults.append(Fault(round(at, 1), kind, lasts, doubled))
        at += lasts + chance.uniform(*_CALM_S)
