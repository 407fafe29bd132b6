"""Which core does what: each measured process has one for itself, and what works for it stays away from there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager


def measured_core() -> int | None:
    """The core of what is measured; None where processes cannot be bound."""
    # The first core tends to have the interrupts.
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def other_cores() -> Set[int]:
    """One core that is not the measured one, for brokers; the measured one if there is no other. Empty where processes
    cannot be bound."""
    if not hasattr(os, "sched_getaffinity"):
        return set()
    return set(sorted(os.sched_getaffinity(0))[-2:][:1])


@contextmanager
def bound_to(cores: Set[int]) -> Iterator[None]:
    """Processes that are started meanwhile run on these cores; with none, as always."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
