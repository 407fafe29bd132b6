"""What becomes of a simulation."""

from __future__ import annotations

from dataclasses import dataclass

from .weather import Weather


@dataclass(frozen=True)
class Outcome:
    """What became of one simulation.

    Attributes:
        seed: what it was drawn from.
        violation: what is wrong; None when nothing is.
        weather: what went wrong by intention.
        last_lines: the end of its trace.
        digest: of the whole trace.
        deaths, stops, checkpoints: how many there were.
        unaligned: how many of the checkpoints hold records in flight.
        steps: how many callbacks ran.
    """

    seed: int
    violation: str | None
    weather: Weather
    last_lines: tuple[str, ...]
    digest: int
    deaths: int
    stops: int
    checkpoints: int
    unaligned: int
    steps: int


class SimulationError(AssertionError):
    """A simulation found something wrong.

    Attributes:
        outcome: of the seed that found it.
    """

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(
            f"seed {outcome.seed}: {outcome.violation}\n"
            f"  weather: {outcome.weather.describe()}\n"
            f"  {outcome.deaths} deaths, {outcome.stops} stops, {outcome.checkpoints} checkpoints; the last of its trace:\n"
            + "".join(f"    {line}\n" for line in outcome.last_lines)
            + f"  again, step by step: simulate(..., first_seed={outcome.seed}, seeds=1, on_line=print), "
            f"or tidegate simulate --seed {outcome.seed}"
        )
