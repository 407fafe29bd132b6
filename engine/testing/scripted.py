"""A source whose input, crashes and checkpoints included, is data."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from ...connectors.source import Fetch, Lag, Offset, SourceContext, Split
from ..clock import Clock
from ..errors import CheckpointError
from ..executor import Executor
from ..job import Job, JobStatus, start
from ..topology import Topology

if True:  # the settings are needed at run time by `run_script`
    from ..config import RunConfig

T = TypeVar("T")


class Marker(enum.Enum):
    """What may stand between the records of a script, besides `Pause`.

    Attributes:
        CRASH: raise `ScriptedCrash`, the first time that the reader gets here. The records before it have gone
            through the chain by then.
        BARRIER: take a checkpoint exactly here: the split gives nothing until it has ended. See `run_script`.
        END: the split has no more records; what follows is never read.
    """

    CRASH = "crash"
    BARRIER = "barrier"
    END = "end"


CRASH = Marker.CRASH
BARRIER = Marker.BARRIER
END = Marker.END


@dataclass(frozen=True)
class Pause:
    """The split gives nothing for so many seconds by the engine's clock; None: until `ScriptedSource.release`."""

    seconds: float | None = None


class ScriptedCrash(Exception):
    """What `CRASH` raises; a restart strategy takes it like any failure of a source."""


Script: TypeAlias = Sequence[T | Marker | Pause]
