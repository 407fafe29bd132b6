"""Ten-second tumbling window over a file with a Python function per bid, against other engines."""

from __future__ import annotations

from ..peers import loop
from ..scenario import Wanted
from .files_compared import FUNCTION, against_file_peers

SCENARIO = against_file_peers(
    "the same window with a Python function per record, against other engines",
    FUNCTION,
    (
        Wanted(f"{loop.LABEL}.ratio", "at_least", 0.8, "at least 0.80 of the loop"),
        Wanted(f"{loop.LABEL}.cpu_ratio", "at_least", 0.8, "the same by CPU time"),
        # By the clock a peer has two cores, and the engine one.
        Wanted("cpu_ratio", "at_least", 5, "at least 5 times the best peer by CPU time"),
    ),
    "The engine and Flink SQL take a checkpoint every second, Spark one behind each micro-batch; the others take none. DuckDB "
    "and Polars have no function in Python, but the same in their own expressions.",
)
