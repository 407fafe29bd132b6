"""The testing kit: what the engine's own tests use, for yours."""

from .clock import ManualClock
from .connector_suites import SinkSuite, SourceSuite
from .contexts import ManualSinkContext, ManualSourceContext
from .harness import AsyncOperatorHarness, OperatorHarness
from .scripted import BARRIER, CRASH, END, Pause, ScriptedSource
from .state_suite import StateBackendSuite

__all__ = [
    "BARRIER",
    "CRASH",
    "END",
    "AsyncOperatorHarness",
    "ManualClock",
    "ManualSinkContext",
    "ManualSourceContext",
    "OperatorHarness",
    "Pause",
    "ScriptedSource",
    "SinkSuite",
    "SourceSuite",
    "StateBackendSuite",
]
