"""`tidegate run`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from ..logs import configure_logging
from ..supervised import Supervised
from .load import load_topology
from .options import JobOptions, RestoreWhat, Target, new_app, takes_job_options
from .output import UsageError

app = new_app()


@app.command()
@takes_job_options
def run(
    target: Target,
    *,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="TIME", help="Time between checkpoints: 1s, 10s, 1m.")
    ] = None,
    restore: RestoreWhat = None,
    metrics_port: Annotated[
        str | None,
        typer.Option("--metrics-port", metavar="PORT", help="Port of the Prometheus metrics; 0 picks one, or none."),
    ] = None,
    supervise: Annotated[
        bool,
        typer.Option("--supervise", help="Run in a worker process, and start it again when it is killed or crashes."),
    ] = False,
    supervise_restart: Annotated[
        str | None,
        typer.Option(
            "--supervise-restart",
            metavar="STRATEGY",
            help="When and how often, for example 'exponential initial=100ms maximum=30s reset_after=1m attempts=20'.",
        ),
    ] = None,
    supervise_timeout: Annotated[
        str | None,
        typer.Option(
            "--supervise-timeout", metavar="TIME", help="Also kill it when it gives no sign of life for so long: 30s."
        ),
    ] = None,
    options: JobOptions,
) -> None:
    """Run a topology until its sources end or it is stopped.

    Ctrl-C or SIGTERM stops it with a final checkpoint; a second one cancels it.
    """
    if supervise and not Supervised.of(os.environ).by_us:
        raise typer.Exit(_supervised(supervise_restart, supervise_timeout, json=options.json))
    if not supervise and (supervise_restart is not None or supervise_timeout is not None):
        raise UsageError("--supervise-restart and --supervise-timeout need --supervise")
    topology = load_topology(target)
    flags = {"checkpoint_interval": interval, "restore": restore, "metrics_port": metrics_port}
    chosen = options.run_config(flags, assumed={"metrics_port": 0})
    from ..run import run as run_topology

    shown(
        lambda live: run_topology(topology, chosen, json=options.json, live=live),
        json=options.json,
        live=not options.no_live,
    )


def _supervised(restart: str | None, timeout: str | None, *, json: bool) -> int:
    """Run this very command line in a worker; the exit code."""
    from ..restart import parse_restart
    from ..run import shown_events
    from ..supervisor import supervise

    strategy = None if restart is None else parse_restart(restart)
    undo = configure_logging(sys.stderr)
    try:
        command = [sys.executable, *sys.orig_argv[1:]]
        return supervise(command, restart=strategy, timeout=timeout, on_event=shown_events(json, sys.stdout, None))
    finally:
        undo()


def shown(run_it: Callable[[bool], object], *, json: bool, live: bool) -> None:
    """Call what runs a job with the view that was asked for: a live table if stdout is a terminal, else log lines on stderr.

    Args:
        run_it: runs it; told whether to draw the table.

    Raises:
        TidegateError: it could not start, or failed.
        typer.Exit: a second signal cancelled it; 128 plus its number.
    """
    from ..run import Interrupted

    live = live and not json and sys.stdout.isatty()
    # A log line would tear the table: there only warnings are worth it.
    undo = configure_logging(sys.stderr, json=json, level=logging.WARNING if live else logging.INFO)
    try:
        run_it(live)
    except Interrupted as interrupted:
        raise typer.Exit(128 + interrupted.signal) from None
    finally:
        undo()
