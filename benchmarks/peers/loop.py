"""The loops that a person would write, in the same harness: the limit of an engine in Python."""

from __future__ import annotations

from typing import Final

from ..loops import tumbling_window, window_with_function
from .file_job import FileJob

LABEL: Final = "loop"
PACKAGES: Final = ()
MOST_BIDS: Final = None


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds."""
    tumbling_window.run(job.source, job.output / "all.jsonl")


def function(job: FileJob) -> None:
    """The same with a Python function for each bid."""
    window_with_function.run(job.source, job.output / "all.jsonl")
