"""`tidegate replay`: the records after a checkpoint once more, into other sinks; or compared with what was written."""

from __future__ import annotations

import asyncio
import json as json_text
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ...connectors.sink import Sink
from ..config import RunConfig
from ..config_file import parse_moment
from ..logs import configure_logging
from ..replay import ReplayOf
from ..topology import Topology
from .checkpoint_folder import wanted_of
from .difference import difference_text
from .load import find, load_target, load_topology
from .options import JobOptions, Target, new_app, takes_job_options
from .output import ExitCode, UsageError, print_json
from .run import shown

app = new_app()

DISCARD = "discard"


@app.command()
@takes_job_options
def replay(
    target: Target,
    *,
    start: Annotated[
        str,
        typer.Option("--from", metavar="WHAT", help="latest, a checkpoint id, the name of a savepoint, or none."),
    ],
    sinks: Annotated[
        list[str] | None,
        typer.Option(
            "--sink",
            metavar="NAME=WHERE",
            help="Where a sink writes instead: a path or topic, app.py:sink, or discard. One for each sink, unless --diff.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="WHAT", help="End exactly where this checkpoint or savepoint was taken, or latest."
        ),
    ] = None,
    to_offsets: Annotated[
        list[str] | None,
        typer.Option(
            "--to-offset", metavar="SOURCE/SPLIT=OFFSET", help="End this split exactly there; may be repeated."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="End before the first record of this event time."),
    ] = None,
    count: Annotated[int | None, typer.Option("--count", metavar="N", help="End after this many records.")] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Compare with what was written: ends with 0 if equal, 1 if different.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="TARGET", help="--diff: the old code, to be replayed over the same records."),
    ] = None,
    old: Annotated[
        list[str] | None,
        typer.Option("--old", metavar="NAME=PATH", help="--diff: a file or folder of what a sink wrote."),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--key", metavar="[NAME=]FIELD,…", help="--diff: what tells records apart, of all sinks or of one."
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="X", min=0.0, help="--diff: how far apart equal numbers may be.")
    ] = 0.0,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=0, help="--diff: how many of each kind are shown.")
    ] = 3,
    options: JobOptions,
) -> int:
    """Run a topology again from a checkpoint, into other sinks.

    The checkpoints are read and not changed, and none are taken. Every sink needs a --sink, so that nothing
    is written a second time by accident. With --diff nothing is written; what the topology writes now is
    compared with what the job has written, or with what --against writes.
    """
    topology = load_topology(target)
    others = {} if diff else redirected(topology, sinks or [])
    config = options.run_config({})
    if config.checkpoints is None:
        raise UsageError("replay needs the checkpoints of the job: give --checkpoints DIR")
    of = ReplayOf(
        start=None if start == "none" else _wanted(start),
        to=None if to is None else _wanted(to),
        to_offsets=_offsets(to_offsets or []),
        until_ms=_moment(until),
        count=_count(count),
    )
    if diff:
        return _diff(topology, config, of, sinks or [], against, old or [], keys or [], tolerance, examples, options)
    given = [("--against", against), ("--old", old), ("--key", keys), ("--tolerance", tolerance)]
    for option, value in given:
        if value:
            raise UsageError(f"{option} is for --diff")
    from ..replay import replay as replay_topology

    shown(
        lambda live: replay_topology(topology, config, of, others, live=live, json=options.json),
        json=options.json,
        live=not options.no_live,
    )
    return ExitCode.OK


def _diff(
    topology: Topology,
    config: RunConfig,
    of: ReplayOf,
    sinks: Sequence[str],
    against: str | None,
    old: Sequence[str],
    keys: Sequence[str],
    tolerance: float,
    examples: int,
    options: JobOptions,
) -> int:
    from rich.console import Console

    from ..comparison.replay_diff import diff_replay

    left_out = []
    for option in sinks:
        name, _, where = option.partition("=")
        if where != DISCARD:
            raise UsageError(f"--sink {option}: --diff writes nothing; NAME={DISCARD} leaves a sink out")
        left_out.append(name)
    named = dict(_pairs("--old", "NAME=PATH", old))
    old_topology = None if against is None else load_topology(against)
    undo = configure_logging(sys.stderr, json=False, level=logging.WARNING)
    console = Console(stderr=True, quiet=options.json)
    try:
        with console.status("finding the checkpoints") as status:
            found = asyncio.run(
                diff_replay(
                    topology,
                    config,
                    of,
                    against=old_topology,
                    old={name: Path(path) for name, path in named.items()},
                    keys=_keys(keys),
                    tolerance=tolerance,
                    examples=examples,
                    leave_out=left_out,
                    tell=status.update,
                )
            )
    finally:
        undo()
    if options.json:
        print_json(msgspec.to_builtins(found) | {"same": found.same})
    else:
        print(difference_text(found))
    return ExitCode.OK if found.same else ExitCode.FAILED


def redirected(topology: Topology, sinks: Sequence[str]) -> dict[str, Sink[Any] | None]:
    """Where each sink of a topology writes instead, as `NAME=WHERE` says; None discards.

    Raises:
        UsageError: a sink without a `NAME=WHERE`, an unknown name, or a place that the sink cannot write to.
    """
    nodes = {node.name: node for node in topology.nodes if node.kind == "sink"}
    given = dict(_pairs("--sink", "NAME=WHERE", sinks))
    for name, where in given.items():
        if name not in nodes:
            raise UsageError(f"--sink {name}={where}: there is no sink {name!r}; the topology has {', '.join(nodes)}")
    missing = [name for name in nodes if name not in given]
    if missing:
        wanted = " ".join(f"--sink {name}=WHERE" for name in missing)
        raise UsageError(
            f"replay writes nothing to the topology's own sinks: give {wanted} (a path, a topic, or discard)"
        )
    return {name: _sink_at(name, nodes[name].what, where) for name, where in given.items()}


def _sink_at(name: str, sink: Any, where: str) -> Sink[Any] | None:
    if where == DISCARD:
        return None
    if ":" in where and "://" not in where:
        module, attribute = load_target(where)
        found: Sink[Any] = find(module, attribute or "", where)
        if not callable(getattr(found, "writer", None)):
            raise UsageError(f"--sink {name}={where}: is not a sink")
        if found is sink:
            raise UsageError(f"--sink {name}={where}: is the topology's own sink; name another")
        return found
    at = getattr(sink, "at", None)
    if at is None:
        raise UsageError(
            f"--sink {name}={where}: {sink.describe()} cannot write elsewhere: give app.py:sink, or {DISCARD}"
        )
    try:
        moved: Sink[Any] = at(where)
    except ValueError as error:
        raise UsageError(f"--sink {name}={where}: {error}") from None
    return moved


def _pairs(option: str, form: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value or not name:
            raise UsageError(f"{option} {text}: write {form}")
        pairs.append((name, value))
    return pairs


def _wanted(text: str) -> int | str:
    return "latest" if text == "latest" else wanted_of(text)


def _moment(until: str | None) -> int | None:
    try:
        return None if until is None else parse_moment(until)
    except ValueError as error:
        raise UsageError(f"--until: {error}") from None


def _count(count: int | None) -> int | None:
    if count is not None and count < 1:
        raise UsageError(f"--count {count}: at least 1")
    return count


def _offsets(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    offsets: dict[str, dict[str, Any]] = {}
    for text in given:
        place, equals, value = text.rpartition("=")
        source, slash, split_id = place.partition("/")
        if not equals or not slash or not split_id:
            raise UsageError(
                f"--to-offset {text}: write SOURCE/SPLIT=OFFSET, as `tidegate checkpoints show` names them"
            )
        try:
            offsets.setdefault(source, {})[split_id] = json_text.loads(value.replace("'", '"'))
        except ValueError:
            raise UsageError(f"--to-offset {text}: the offset {value!r} is not JSON") from None
    return offsets


def _keys(given: Sequence[str]) -> list[str] | dict[str, list[str]] | None:
    """`--key a,b` for all sinks, or `--key sink=a,b` for each."""
    if not given:
        return None
    if len(given) == 1 and "=" not in given[0]:
        return _fields(given[0], given[0])
    return {name: _fields(f"{name}={text}", text) for name, text in _pairs("--key", "NAME=FIELD,FIELD", given)}


def _fields(option: str, text: str) -> list[str]:
    fields = [field.strip() for field in text.split(",")]
    if not all(fields):
        raise UsageError(f"--key {option}: name fields, with commas between")
    return fields
