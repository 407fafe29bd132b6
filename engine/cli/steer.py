"""`tidegate status` and `stop`: talk to a job that runs in another process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from ..control import ControlError, ask, local_directory, running_jobs
from .options import Json, new_app
from .output import UsageError, print_json

status_app, stop_app = new_app(), new_app()

Directory: TypeAlias = Annotated[str, typer.Argument(metavar="DIR", help="The checkpoint directory of the job.")]
Job: TypeAlias = Annotated[
    str | None, typer.Option("--job", metavar="NAME", help="Which job, when several run from this directory.")
]
Timeout: TypeAlias = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up waiting after this long.")
]


@status_app.command()
def status(checkpoints: Directory, job: Job = None, json: Json = False) -> None:
    """Show how a running job is."""
    answer = ask(job_folder(checkpoints, job), {"command": "status"}, 10.0)
    if json:
        print_json(answer)
        return
    from rich.console import Console

    from ..metrics.live import render

    measures: dict[str, Any] = answer["measures"]
    print(f"{measures['job']}: {answer['status']}, in the mean since its start:")
    seconds = max((s["busy_s"] + s["idle_s"] + s["backpressured_s"] for s in measures["subtasks"]), default=1.0)
    Console().print(render(measures, None, seconds, answer["why_waiting"]))


@stop_app.command()
def stop(
    checkpoints: Directory,
    *,
    job: Job = None,
    savepoint: Annotated[
        str | None, typer.Option("--savepoint", metavar="NAME", help="Make the final checkpoint a savepoint.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="End now, without a final checkpoint.")] = False,
    timeout: Timeout = None,
    json: Json = False,
) -> None:
    """Stop a running job: finish what is in flight, take a final checkpoint, end."""
    if cancel and savepoint is not None:
        raise UsageError("--cancel and --savepoint exclude each other")
    request = {"command": "cancel"} if cancel else {"command": "stop", "savepoint": savepoint}
    answer = ask(job_folder(checkpoints, job), request, timeout)
    if json:
        print_json(answer)
    else:
        print("the job has ended")


def job_folder(checkpoints: str, job: str | None) -> Path:
    """The folder of the job that is meant: the named one, or the only one that runs.

    Raises:
        UsageError: the directory is not on this machine, or several jobs are in it.
        ControlError: none is.
    """
    directory = local_directory(checkpoints)
    if directory is None:
        raise UsageError(f"{checkpoints}: a job can be reached through a local checkpoint directory only")
    if not directory.is_dir():
        raise UsageError(f"{checkpoints}: there is no such directory")
    if job is not None:
        return directory / job
    folders = running_jobs(directory)
    if not folders:
        raise ControlError(f"no job is running in {checkpoints}")
    if len(folders) > 1:
        raise UsageError(
            f"{checkpoints}: several jobs are here: give --job, one of {', '.join(f.name for f in folders)}"
        )
    return folders[0]
