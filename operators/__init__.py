"""What is computed: operators, aggregates, windows, and the state that they keep."""

from . import agg, windows
from .changes import Change, ChangeKind
from .connect import ConnectedFunction
from .errors import DeadLetter, OnError, Retry
from .joined import Joined
from .operator import AsyncOperator, MultiInputOperator, Operator, OperatorContext
from .process import ProcessContext, ProcessFunction
from .state import BroadcastState, ListState, MapState, ReducingState, ValueState
from .time import Duration
from .watermarks import Watermarks, WatermarkStrategy

__all__ = [
    "AsyncOperator",
    "BroadcastState",
    "Change",
    "ChangeKind",
    "ConnectedFunction",
    "DeadLetter",
    "Duration",
    "Joined",
    "ListState",
    "MapState",
    "MultiInputOperator",
    "OnError",
    "Operator",
    "OperatorContext",
    "ProcessContext",
    "ProcessFunction",
    "ReducingState",
    "Retry",
    "ValueState",
    "WatermarkStrategy",
    "Watermarks",
    "agg",
    "windows",
]
