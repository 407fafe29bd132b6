"""`tidegate bench`: the benchmarks of the repository, which are not part of the installed package."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import TidegateError
from .options import Json, new_app
from .output import UsageError, print_json

app = new_app()

_FOLDER = "benchmarks"
_EXTRA = ("numpy", "duckdb")


@app.command()
def bench(
    scenarios: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCENARIO]...",
            help="Which; the usual ones if none is given; kafka or peers for those beside Kafka or other engines.",
        ),
    ] = None,
    *,
    events: Annotated[int | None, typer.Option("--events", min=1, help="Records, or keys, per measurement.")] = None,
    repeat: Annotated[int | None, typer.Option("--repeat", min=1, help="Repetitions; the median counts.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Where to keep the results; benchmarks/results if not given."),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="Show which scenarios there are.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Record a py-spy profile of each scenario instead of measuring.")
    ] = False,
    json: Json = False,
) -> None:
    """Measure on this machine, against the hand-written loop in the same run.

    Every measurement has a process of its own. Results are compared with DuckDB before a figure counts.
    """
    _find()
    registry: Any = importlib.import_module(f"{_FOLDER}.scenario")
    try:
        chosen = registry.chosen(scenarios or (registry.NAMES if show else ()))
    except registry.BenchmarkError as error:
        raise UsageError(str(error)) from None
    if show:
        titles = {name: registry.load(name).title for name in chosen}
        if json:
            print_json(titles)
            return
        width = max(map(len, titles))
        for name, title in titles.items():
            print(f"{name:{width}}  {title}")
        return
    missing = [library for library in _EXTRA if importlib.util.find_spec(library) is None]
    if missing:
        raise UsageError(f"the benchmarks need {' and '.join(missing)}: pip install 'tidegate[bench]'")
    if output is not None and not output.resolve().parent.is_dir():
        raise UsageError(f"--output {output}: there is no such folder")
    try:
        _measure(chosen, events, repeat, output, profile=profile, json=json)
    except registry.BenchmarkError as error:
        raise TidegateError(str(error)) from None


def _measure(
    chosen: list[str], events: int | None, repeat: int | None, output: Path | None, *, profile: bool, json: bool
) -> None:
    harness: Any = importlib.import_module(f"{_FOLDER}.harness")
    report: Any = importlib.import_module(f"{_FOLDER}.report")
    if profile:
        for path in harness.profile(chosen, events, _tell):
            print(path)
        return
    outcomes = [harness.run_scenario(name, events, repeat, _tell) for name in chosen]
    found = report.document(outcomes)
    saved = report.save(found, output)
    if json:
        print_json(found)
    else:
        importlib.import_module(f"{_FOLDER}.tables").print_tables(outcomes)
    _tell(f"kept in {saved}")


def _find() -> None:
    """Make the benchmarks importable: those of the checkout in the working directory, else of the one that this package is
    installed from.

    Raises:
        UsageError: there are none.
    """
    if _FOLDER in sys.modules:
        return
    for root in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]):
        if (root / _FOLDER / "harness.py").is_file():
            sys.path.insert(0, str(root))
            return
    raise UsageError(
        "the benchmarks are not here: they are part of the repository and not of the installed package; "
        "run this in a checkout of it"
    )


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
