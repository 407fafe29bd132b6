"""`tidegate replay`: the records after a checkpoint once more, into other sinks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ...connectors.sink import Committable, Guarantee, Sink, SinkContext, SinkWriter
from ...operators.batch import Batch
from ..config import RunConfig
from ..config_file import parse_moment
from ..restart import never
from ..topology import Topology
from .load import find, load_target, load_topology
from .options import JobOptions, Target, new_app, takes_job_options
from .output import UsageError
from .run import operate

app = new_app()

DISCARD = "discard"


@app.command()
@takes_job_options
def replay(
    target: Target,
    *,
    start: Annotated[
        str,
        typer.Option("--from", metavar="WHAT", help="latest, a checkpoint id, or the name of a savepoint."),
    ],
    sinks: Annotated[
        list[str] | None,
        typer.Option(
            "--sink",
            metavar="NAME=WHERE",
            help="Where a sink writes instead: a path, app.py:sink, or discard. One for each sink.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="End before the first record of this event time."),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", help="End after this many records.")] = None,
    options: JobOptions,
) -> None:
    """Run a topology again from a checkpoint, into other sinks.

    The checkpoints are read and not changed, and none are taken. Every sink needs a --sink, so that nothing
    is written a second time by accident.
    """
    topology = load_topology(target)
    chosen = options.run_config({"stop_after_records": count})
    redirect(topology, sinks or [])
    operate(topology, replay_settings(chosen, start, until), json=options.json, live=not options.no_live)


def replay_settings(config: RunConfig, start: str, until: str | None) -> RunConfig:
    """The settings of a run as those of a replay: read checkpoints, take none, never restart.

    Raises:
        UsageError: there is no place to read checkpoints from, or `until` is not a time.
    """
    if config.checkpoints is None:
        raise UsageError("replay needs the checkpoints of the job: give --checkpoints DIR")
    until_ms = config.until_ms
    if until is not None:
        try:
            until_ms = parse_moment(until)
        except ValueError as error:
            raise UsageError(f"--until: {error}") from None
    return dataclasses.replace(
        config,
        checkpoints=None,
        restore_from=config.checkpoints,
        restore=int(start) if start.isdecimal() else start,
        restart=never(),
        until_ms=until_ms,
    )


def redirect(topology: Topology, sinks: Sequence[str]) -> None:
    """Let the sinks of a topology write elsewhere, as `NAME=WHERE` says.

    Raises:
        UsageError: a sink without a `NAME=WHERE`, an unknown name, or a place that the sink cannot write to.
    """
    nodes = {node.name: node for node in topology.nodes if node.kind == "sink"}
    given: dict[str, str] = {}
    for option in sinks:
        name, equals, where = option.partition("=")
        if not equals or not where:
            raise UsageError(f"--sink {option}: write NAME=WHERE")
        if name not in nodes:
            raise UsageError(f"--sink {option}: there is no sink {name!r}; the topology has {', '.join(nodes)}")
        given[name] = where
    missing = [name for name in nodes if name not in given]
    if missing:
        wanted = " ".join(f"--sink {name}=WHERE" for name in missing)
        raise UsageError(f"replay writes nothing to the topology's own sinks: give {wanted} (a path, or discard)")
    for name, where in given.items():
        node = nodes[name]
        node.what = _sink_at(name, node.what, where)


def _sink_at(name: str, sink: Any, where: str) -> Sink[Any]:
    if where == DISCARD:
        return _Discarded()
    if ":" in where and "://" not in where:
        module, attribute = load_target(where)
        found: Sink[Any] = find(module, attribute or "", where)
        if not callable(getattr(found, "writer", None)):
            raise UsageError(f"--sink {name}={where}: is not a sink")
        return found
    at = getattr(sink, "at", None)
    if at is None:
        raise UsageError(
            f"--sink {name}={where}: {sink.describe()} cannot write to a path: give app.py:sink, or {DISCARD}"
        )
    moved: Sink[Any] = at(where)
    return moved


class _Discarded:
    """A sink that takes everything and keeps nothing."""

    guarantee: Guarantee = "exactly_once"

    def writer(self, context: SinkContext) -> SinkWriter[Any]:
        return _DiscardingWriter()

    async def commit(self, context: SinkContext, committables: Sequence[Committable]) -> None:
        """There is nothing to make visible."""

    async def recover(
        self, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
    ) -> None:
        """There is nothing to clear away."""

    def describe(self) -> str:
        return DISCARD


class _DiscardingWriter:
    async def open(self) -> None: ...
    async def write(self, batch: Batch[Any]) -> None: ...
    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        return []

    async def close(self) -> None: ...
