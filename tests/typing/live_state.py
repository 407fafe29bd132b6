"""The types of what is read from a running job follow from the declarations. Marks as in `flow.py`."""

from __future__ import annotations

from typing import reveal_type

import msgspec
from tidegate.engine import Topology, start
from tidegate.operators import ListState, MapState, ReducingState, ValueState


class Seen(msgspec.Struct):
    """What is kept."""

    n: int


LAST: ValueState[Seen] = ValueState("last", Seen)
ALL: ListState[int] = ListState("all", int)
SUM: ReducingState[float] = ReducingState("sum", float, max)
EACH: MapState[str, int] = MapState("each", str, int)

job = start(Topology("types"))


async def read() -> None:
    """Reads of every shape."""
    reveal_type(await job.state("keep", LAST).get("k"))  # R: Seen | None
    reveal_type(await job.state("keep", ALL).get("k"))  # R: list[int] | None
    reveal_type(await job.state("keep", SUM).get("k"))  # R: float | None
    reveal_type(await job.state("keep", EACH).get("k"))  # R: dict[str, int]
    reveal_type(await job.state("keep", EACH).get_entry("k", "m"))  # R: int | None
    async for key, value in job.state("keep", LAST).items():
        reveal_type((key, value))  # R: tuple[Any, Seen]
    async for place, count in job.state("keep", EACH).items():
        reveal_type((place, count))  # R: tuple[tuple[Any, str], int]
    await job.state("keep", EACH).get_entry("k", 5)  # E: incompatible type "int"; expected "str"
    job.state("keep", 5)  # E: No overload variant
