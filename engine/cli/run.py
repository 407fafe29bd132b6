"""`tidegate run`."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from ..config import RunConfig
from ..logs import configure_logging
from ..topology import Topology
from .load import load_topology
from .options import (
    Checkpoints,
    ConfigFile,
    JobName,
    JsonLines,
    Parallelism,
    Profile,
    Rename,
    RestoreWhat,
    Settings,
    Target,
    new_app,
    renames,
    settings_from,
)

app = new_app()


@app.command()
def run(
    target: Target,
    *,
    config: ConfigFile = None,
    profile: Profile = None,
    settings: Settings = None,
    checkpoints: Checkpoints = None,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="TIME", help="Time between checkpoints: 1s, 10s, 1m.")
    ] = None,
    parallelism: Parallelism = None,
    job: JobName = None,
    restore: RestoreWhat = None,
    rename: Rename = None,
    metrics_port: Annotated[
        str | None,
        typer.Option("--metrics-port", metavar="PORT", help="Port of the Prometheus metrics; 0 picks one, or none."),
    ] = None,
    json: JsonLines = False,
    no_live: Annotated[
        bool, typer.Option("--no-live", help="Log lines instead of a live table, also on a terminal.")
    ] = False,
) -> None:
    """Run a topology until its sources end or it is stopped.

    Ctrl-C or SIGTERM stops it with a final checkpoint; a second one cancels it.
    """
    topology = load_topology(target)
    flags = {
        "checkpoints": checkpoints,
        "checkpoint_interval": interval,
        "parallelism": parallelism,
        "job": job,
        "restore": restore,
        "rename": renames(rename),
        "metrics_port": metrics_port,
    }
    chosen = settings_from(config, profile, settings, flags, assumed={"metrics_port": 0})
    operate(topology, chosen, json=json, live=not no_live)


def operate(topology: Topology, config: RunConfig, *, json: bool, live: bool) -> None:
    """Run a topology with the view that was asked for: a live table if stdout is a terminal, else log lines
    on stderr.

    Raises:
        TidegateError: it could not start, or failed.
        typer.Exit: a second signal cancelled it; 128 plus its number.
    """
    from ..run import Interrupted
    from ..run import run as run_topology

    live = live and not json and sys.stdout.isatty()
    # A log line would tear the table: there only warnings are worth it.
    undo = configure_logging(sys.stderr, json=json, level=logging.WARNING if live else logging.INFO)
    try:
        run_topology(topology, config, json=json, live=live)
    except Interrupted as interrupted:
        raise typer.Exit(128 + interrupted.signal) from None
    finally:
        undo()
