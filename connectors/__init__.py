"""The outside world: sources, sinks and formats. One system is one module; see the contracts `Source` and `Sink`."""

from . import console, files, formats, generator, memory
from .sink import Committable, Guarantee, Sink, SinkContext, SinkError, SinkWriter
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

__all__ = [
    "Committable",
    "ConnectorError",
    "Fetch",
    "Guarantee",
    "Lag",
    "Offset",
    "Rejected",
    "Sink",
    "SinkContext",
    "SinkError",
    "SinkWriter",
    "Source",
    "SourceContext",
    "SourceError",
    "SourceReader",
    "Split",
    "console",
    "files",
    "formats",
    "generator",
    "memory",
]
