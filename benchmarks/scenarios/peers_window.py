"""Ten-second tumbling window over a file, against other engines."""

from __future__ import annotations

from ..peers import bytewax, flink_sql, pathway
from ..scenario import Wanted
from .files_compared import WINDOW, against_file_peers

SCENARIO = against_file_peers(
    "10 s tumbling window per key, JSON file to JSON file, against other engines",
    WINDOW,
    (
        Wanted(f"{flink_sql.LABEL}.cpu_ratio", "at_least", 3, "at least 3 times Flink SQL by CPU time"),
        Wanted(f"{pathway.LABEL}.cpu_ratio", "at_least", 6, "at least 6 times Pathway by CPU time"),
        Wanted(f"{bytewax.LABEL}.cpu_ratio", "at_least", 12, "at least 12 times bytewax by CPU time"),
    ),
    "The engine and Flink SQL take a checkpoint every second, Spark one behind each micro-batch, bytewax-recovery a snapshot "
    "every second; the others take none.",
)
