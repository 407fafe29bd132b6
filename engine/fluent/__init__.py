"""The fluent face: one short method per operator. What an operator does stands in its own file."""

from .keyed_stream import KeyedStream
from .over_stream import OverStream
from .stream import Stream
from .windowed_stream import WindowedStream

__all__ = ["KeyedStream", "OverStream", "Stream", "WindowedStream"]
