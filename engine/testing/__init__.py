"""The testing kit: what the engine's own tests use, for yours."""

from .clock import ManualClock
from .harness import AsyncOperatorHarness, OperatorHarness

__all__ = ["AsyncOperatorHarness", "ManualClock", "OperatorHarness"]
