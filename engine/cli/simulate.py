"""`tidegate simulate`: a topology under many seeded histories of crashes, delays and failures."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..topology import Topology
from .load import load_topology
from .options import ConfigFile, Json, Profile, Settings, Target, new_app, settings_from
from .output import UsageError, print_json

if TYPE_CHECKING:
    from ..testing.simulate import Outcome

app = new_app()


@app.command()
def simulate(
    target: Target,
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="How many simulations.")] = 1000,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, metavar="N", help="Only this one, with the trace of what every process does."),
    ] = None,
    first_seed: Annotated[int, typer.Option("--first-seed", min=0, metavar="N", help="Where to begin.")] = 0,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SOURCE=FILE",
            help="JSON lines that a source gives; needed for a source without an end. Repeated for a source, one split each.",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, metavar="N", help="Processes at once; one per core if not given."),
    ] = None,
    config: ConfigFile = None,
    profile: Profile = None,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Find out whether a topology gives every result once, whatever dies.

    Its sources, its sinks and the storage of its checkpoints are replaced by simulated ones; nothing is read
    from or written to the real ones, but for sources with an end, which are read once. Exit code 1: a seed
    found something wrong.
    """
    from ..testing.simulate import SimulationError
    from ..testing.simulate import simulate as run_simulations

    topology = load_topology(target)
    chosen = settings_from(config, profile, settings, {})
    wanted = range(first_seed, first_seed + seeds) if seed is None else range(seed, seed + 1)
    done = 0

    def on_outcome(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        if not json and seed is None and sys.stderr.isatty():
            print(f"\r{done} of {len(wanted)} seeds", end="", file=sys.stderr, flush=True)

    try:
        report = run_simulations(
            topology,
            inputs=_read_inputs(topology, inputs or []),
            seeds=len(wanted),
            first_seed=wanted.start,
            config=chosen,
            processes=1 if seed is not None else processes or os.cpu_count() or 1,
            on_line=print if seed is not None and not json else None,
            on_outcome=on_outcome,
        )
    except SimulationError as error:
        if json:
            outcome = error.outcome
            print_json({"seed": outcome.seed, "violation": outcome.violation, "trace": list(outcome.last_lines)})
        else:
            print(f"\n{error}", file=sys.stderr)
        raise typer.Exit(1) from None
    found: dict[str, Any] = {
        "seeds": report.seeds,
        "deaths": report.deaths,
        "stops": report.stops,
        "checkpoints": report.checkpoints,
        "unaligned": report.unaligned,
        "steps": report.steps,
        "violation": None,
    }
    if json:
        print_json(found)
    else:
        print(
            f"\r{report.seeds:,} seeds, nothing wrong: {report.deaths:,} processes killed, {report.stops:,} stopped and come "
            f"back, {report.checkpoints:,} checkpoints ({report.unaligned:,} unaligned), {report.steps:,} steps"
        )


def _read_inputs(topology: Topology, options: list[str]) -> dict[str, list[Any]] | None:
    """The records of `SOURCE=FILE` options, of the type of their source.

    Raises:
        UsageError: an option does not fit, or its file cannot be read; names the line.
    """
    import msgspec

    types = {node.name: node.record_type for node in topology.nodes if node.kind == "source"}
    found: dict[str, list[Any]] = {}
    for option in options:
        name, equals, path = option.partition("=")
        if not equals or name not in types:
            raise UsageError(f"--input {option}: write SOURCE=FILE; the topology has {', '.join(types)}")
        decode = msgspec.json.Decoder(Any if types[name] is None else types[name]).decode
        split = []
        try:
            for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
                try:
                    split.append(decode(line))
                except (msgspec.DecodeError, msgspec.ValidationError) as error:
                    raise UsageError(f"--input {option}: line {number}: {error}") from None
        except OSError as error:
            raise UsageError(f"--input {option}: {error.strerror}") from None
        found.setdefault(name, []).append(split)
    return found or None
