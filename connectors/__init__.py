"""The outside world: sources, sinks and formats. One system is one module; see the contracts `Source` and `Sink`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .sink import (
    AtLeastOnce,
    Committable,
    Guarantee,
    OutputLostError,
    Redriven,
    Sink,
    SinkContext,
    SinkError,
    SinkFencedError,
    SinkWriter,
)
from .source import (
    ConnectorError,
    Fetch,
    Lag,
    Offset,
    Rejected,
    Source,
    SourceContext,
    SourceError,
    SourceReader,
    Split,
)

if TYPE_CHECKING:
    from . import console, faust, files, formats, generator, kafka, memory

_MODULES = frozenset({"console", "faust", "files", "formats", "generator", "kafka", "memory"})


def __getattr__(name: str) -> Any:
    """The connectors' modules, loaded when first used: the engine needs the contracts alone."""
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AtLeastOnce",
    "Committable",
    "ConnectorError",
    "Fetch",
    "Guarantee",
    "Lag",
    "Offset",
    "OutputLostError",
    "Redriven",
    "Rejected",
    "Sink",
    "SinkContext",
    "SinkError",
    "SinkFencedError",
    "SinkWriter",
    "Source",
    "SourceContext",
    "SourceError",
    "SourceReader",
    "Split",
    "console",
    "faust",
    "files",
    "formats",
    "generator",
    "kafka",
    "memory",
]
