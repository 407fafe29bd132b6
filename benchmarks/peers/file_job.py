"""What a contender is asked to do with a file, in a process and, unless it is ours, in a virtual environment of its own:
`python -m benchmarks.peers.file_job CONTENDER JOB …`. Only its own libraries and the standard library are there."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileJob:
    """Read all of a file of JSON lines, and write the results as JSON lines.

    Attributes:
        source: the file, or what the contender has made of it.
        output: a folder for the results; it is there and empty.
        work: a folder for state and checkpoints; it is there and empty.
    """

    source: Path
    output: Path
    work: Path


Run = Callable[[FileJob], "dict[str, float] | None"]
"""Does the job; what it gives is kept beside what is measured from outside."""


def main() -> None:
    """Do the job. The last line on stdout is what it gives, as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.file_job", description=__doc__)
    parser.add_argument("contender")
    parser.add_argument("job")
    for name in ("source", "output", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = vars(parser.parse_args())
    contender, job = given.pop("contender"), given.pop("job")
    run: Run = getattr(importlib.import_module(f".{contender}", __package__), job)
    print(json.dumps(run(FileJob(**given)) or {}), flush=True)


if __name__ == "__main__":
    main()
