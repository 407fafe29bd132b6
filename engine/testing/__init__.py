"""The testing kit: what the engine's own tests use, for yours."""

from .clock import ManualClock
from .connector_suites import SinkSuite, SourceSuite
from .contexts import ManualSinkContext, ManualSourceContext
from .format_suite import FormatSuite
from .harness import AsyncOperatorHarness, OperatorHarness
from .scripted import BARRIER, CRASH, END, Pause, ScriptedCrash, ScriptedSource, run_script
from .state_suite import StateBackendSuite

__all__ = [
    "BARRIER",
    "CRASH",
    "END",
    "AsyncOperatorHarness",
    "FormatSuite",
    "ManualClock",
    "ManualSinkContext",
    "ManualSourceContext",
    "OperatorHarness",
    "Pause",
    "ScriptedCrash",
    "ScriptedSource",
    "SinkSuite",
    "SourceSuite",
    "StateBackendSuite",
    "run_script",
]
