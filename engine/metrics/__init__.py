"""What a job counts, and how it is shown: Prometheus, a live table, log lines."""

from .histogram import Histogram
from .measures import (
    CheckpointMeasures,
    JobMeasures,
    OperatorMeasures,
    SplitMeasures,
    SubtaskMeasures,
)

__all__ = [
    "CheckpointMeasures",
    "Histogram",
    "JobMeasures",
    "OperatorMeasures",
    "SplitMeasures",
    "SubtaskMeasures",
]
