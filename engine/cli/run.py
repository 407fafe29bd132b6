"""`tidegate run`."""

from __future__ import annotations

from typing import Annotated

import typer

from .load import load_topology
from .options import (
    Checkpoints,
    ConfigFile,
    JobName,
    JsonLines,
    Parallelism,
    Profile,
    Settings,
    Target,
    new_app,
    settings_from,
)

app = new_app()


@app.command()
def run(
    target: Target,
    config: ConfigFile = None,
    profile: Profile = None,
    settings: Settings = None,
    checkpoints: Checkpoints = None,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="TIME", help="Time between checkpoints: 1s, 10s, 1m.")
    ] = None,
    parallelism: Parallelism = None,
    job: JobName = None,
    restore: Annotated[
        str | None,
        typer.Option(
            "--restore", metavar="WHAT", help="latest, a checkpoint id, the name of a savepoint, or none."
        ),
    ] = None,
    metrics_port: Annotated[
        str | None,
        typer.Option(
            "--metrics-port", metavar="PORT", help="Port of the Prometheus metrics; 0 picks one, or none."
        ),
    ] = None,
    json: JsonLines = False,
    no_live: Annotated[
        bool, typer.Option("--no-live", help="Log lines instead of a live table, also on a terminal.")
    ] = False,
) -> None:
    """Run a topology until its sources end or it is stopped.

    Ctrl-C or SIGTERM stops it with a final checkpoint; a second one cancels it.
    """
    from ..run import run as run_topology

    topology = load_topology(target)
    flags = {
        "checkpoints": checkpoints,
        "checkpoint_interval": interval,
        "parallelism": parallelism,
        "job": job,
        "restore": restore,
        "metrics_port": metrics_port,
    }
    chosen = settings_from(config, profile, settings, flags, assumed={"metrics_port": 0})
    run_topology(topology, chosen, json=json, live=False if no_live or json else None)
