"""`tidegate demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..demo import FLIGHTS_PER_S
from .options import JsonLines, new_app
from .output import ExitCode, UsageError

app = new_app()


@app.command()
def demo(
    *,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="Working folder; an earlier demo there is replaced.")
    ] = Path("demo-out"),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the input too, to run and replay the topology yourself.")
    ] = False,
    no_kill: Annotated[bool, typer.Option("--no-kill", help="Let the worker live.")] = False,
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", help="Flights per second, so that one can watch; 0 for no limit.")
    ] = FLIGHTS_PER_S,
    json: JsonLines = False,
) -> None:
    """Run 336,776 flights through the engine, kill the worker with kill -9 half way, and compare all results
    with a batch query.

    Exit codes: 0 all rows are equal, 1 they are not or the worker failed, 2 something is not installed or DIR
    cannot be used.
    """
    from ..demo.demo import run_demo
    from ..demo.screen import JsonScreen, Screen, TextScreen

    if rate < 0:
        raise UsageError(f"--rate {rate:g}: flights per second, or 0 for no limit")
    screen: Screen
    if json:
        screen = JsonScreen(sys.stdout)
    else:
        from rich.console import Console

        screen = TextScreen(Console(width=None if sys.stdout.isatty() else 120))
    if not run_demo(output, screen, rate=rate or None, kill=not no_kill, keep=keep):
        raise typer.Exit(ExitCode.FAILED)
