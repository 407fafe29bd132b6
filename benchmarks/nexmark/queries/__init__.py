"""The queries, each as a user would write it: its module's `query(events)` gives the stream of results."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tidegate.connectors import files, formats
from tidegate.connectors.sink import Sink
from tidegate.connectors.source import Source
from tidegate.engine import Stream, Topology
from tidegate.operators import Watermarks

from ..events import Event

NAMES: Final = tuple(f"q{number}" for number in range(23))


def topology(
    name: str, events: Path, output: Path, *, rate_limit: float | None = None, follow: bool = False
) -> Topology:
    """A query over a file of events, at most four seconds out of order as in the reference, into files of JSON lines.

    Args:
        name: `q0` to `q22`.
        events: the file.
        output: the folder of the results.
        rate_limit: read no faster than so many events a second.
        follow: wait for more at the file's end.
    """
    source = files.lines(events, formats.json(Event), follow=follow)
    return query_topology(name, source, files.lines(output, formats.json()), rate_limit=rate_limit)


def query_topology(name: str, events: Source[Event], results: Sink, *, rate_limit: float | None = None) -> Topology:
    """A query between any source of events and any sink.

    Args:
        name: `q0` to `q22`.
        events: where they come from; at most four seconds out of order, as in the reference.
        results: where the results go.
        rate_limit: read no faster than so many events a second.
    """
    made = Topology(f"nexmark-{name}")
    stream = made.source(
        "events",
        events,
        event_time="date_time",
        watermarks=Watermarks(out_of_orderness="4s"),
        rate_limit=rate_limit,
    )
    query: Callable[[Stream[Event]], Stream[Any]] = importlib.import_module(f".{name}", __package__).query
    query(stream).sink("results", results)
    return made
