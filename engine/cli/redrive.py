"""`tidegate redrive`: dead letters back through the topology."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from ...connectors.sink import Redriven
from ..config import RunConfig
from ..topology import Node
from .load import load_topology
from .options import ConfigFile, JobName, Json, Profile, Settings, Target, new_app, settings_from
from .output import UsageError, print_json

app = new_app()


@app.command()
def redrive(
    target: Target,
    *,
    sink: Annotated[
        str | None,
        typer.Option("--sink", metavar="NAME", help="The sink with the dead letters, when there are several."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="End after this many letters.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    config: ConfigFile = None,
    profile: Profile = None,
    settings: Settings = None,
    job: JobName = None,
    json: Json = False,
) -> None:
    """Send the originals of dead letters to where they were read, so that the job reads them again.

    Begins behind the letters that were sent the last time. Each original is sent once, whatever crashes. The
    job may run, or be started afterwards.
    """
    topology = load_topology(target)
    chosen = settings_from(config, profile, settings, {"job": job})
    node = _dead_letters(topology.nodes, sink)
    done = asyncio.run(_redrive(node, chosen, chosen.job or topology.name, limit, send=not dry_run, quiet=json))
    if json:
        print_json(
            {"sink": node.name, "sent": done.sent, "gone": done.gone, "foreign": done.foreign, "dry_run": dry_run}
        )
        return
    print(f"{node.name}: {done.sent} originals {'would be sent' if dry_run else 'sent'} again")
    if done.gone:
        print(f"{done.gone} originals are gone: retention has deleted them, and the letters do not hold them")
    if done.foreign:
        print(f"{done.foreign} letters are of records that were not read from this system")


def _dead_letters(nodes: list[Node], name: str | None) -> Node:
    """The sink to redrive.

    Raises:
        UsageError: there is none, or there are several and none is named.
    """
    able = {node.name: node for node in nodes if node.kind == "sink" and callable(getattr(node.what, "redrive", None))}
    if name is not None and name not in able:
        raise UsageError(
            f"--sink {name}: keeps no dead letters that can be redriven; those are {', '.join(able) or 'none'}"
        )
    if not able:
        raise UsageError("no sink of the topology keeps dead letters that can be redriven, as kafka.dead_letters does")
    if name is None and len(able) > 1:
        raise UsageError(f"several sinks keep dead letters: name one with --sink: {', '.join(able)}")
    return able[name] if name is not None else next(iter(able.values()))


async def _redrive(node: Node, config: RunConfig, job: str, limit: int | None, *, send: bool, quiet: bool) -> Redriven:
    from rich.console import Console

    from ..clock import SystemClock
    from ..executor import ThreadExecutor
    from ..metrics.measures import JobMeasures
    from ..runtime.contexts import ConnectorContext

    executor = ThreadExecutor()
    measures = JobMeasures(job).operator(node.name, 0, node.kind)
    context = ConnectorContext(node.name, job, 0, 1, 0, SystemClock(), executor, measures, config)
    sink: Any = node.what
    try:
        with Console(stderr=True, quiet=quiet).status("looking at dead letters") as status:
            done: Redriven = await sink.redrive(
                context,
                limit=limit,
                send=send,
                tell=lambda so_far: status.update(f"{so_far.letters} dead letters, {so_far.sent} sent again"),
            )
            return done
    finally:
        executor.close()
