"""The fluent face: one short method per operator. What an operator does stands in its own file."""

from .connected_streams import ConnectedStreams
from .keyed_stream import KeyedStream
from .over_stream import OverStream
from .stream import Stream
from .table import Table
from .windowed_stream import WindowedStream

__all__ = ["ConnectedStreams", "KeyedStream", "OverStream", "Stream", "Table", "WindowedStream"]
