"""What is computed: operators, aggregates, windows, and the state that they keep."""

from . import agg, patterns, windows
from .changes import Change, ChangeKind
from .circuit_breaker import CircuitBreaker, CircuitOpenError
from .connect import ConnectedFunction
from .errors import DeadLetter, OnError, Retry
from .joined import Joined
from .operator import AsyncOperator, MultiInputOperator, Operator, OperatorContext
from .pattern_step import MatchSoFar
from .patterns import Match, Pattern
from .process import ProcessContext, ProcessFunction
from .state import BroadcastState, ListState, MapState, ReducingState, ValueState
from .time import Duration
from .watermarks import Watermarks, WatermarkStrategy

__all__ = [
    "AsyncOperator",
    "BroadcastState",
    "Change",
    "ChangeKind",
    "CircuitBreaker",
    "CircuitOpenError",
    "ConnectedFunction",
    "DeadLetter",
    "Duration",
    "Joined",
    "ListState",
    "MapState",
    "Match",
    "MatchSoFar",
    "MultiInputOperator",
    "OnError",
    "Operator",
    "OperatorContext",
    "Pattern",
    "ProcessContext",
    "ProcessFunction",
    "ReducingState",
    "Retry",
    "ValueState",
    "WatermarkStrategy",
    "Watermarks",
    "agg",
    "patterns",
    "windows",
]
