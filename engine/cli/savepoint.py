"""`tidegate savepoint`: take savepoints, check whether a topology fits one, delete them."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import Annotated, Any

import typer

from ..checkpoint.decisions import Refuse, Restore, StartFresh, choose_restore
from ..checkpoint.manifest import Manifest
from ..checkpoint.names import check_savepoint_name
from ..checkpoint.retention import delete_savepoint
from ..checkpoint.storage import CheckpointStorage
from ..clock import SystemClock
from ..config import RunConfig
from ..control import ask
from ..errors import CheckpointError
from ..executor import ThreadExecutor
from ..plan import Plan, make_plan
from ..runtime.recovery import fit_to, storage_at
from ..savepoint.fit import Fit, NodeFit, StateFit
from ..savepoint.values import CheckedValues, check_values
from ..validation import validate
from .checkpoint_folder import Directory, JobOption, with_storage
from .load import load_topology
from .options import (
    Checkpoints,
    ConfigFile,
    JobName,
    Json,
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
from .output import ExitCode, UsageError, print_json
from .steer import Timeout, job_folder

app = new_app()
app.info.help = "Take savepoints, check whether a topology fits one, delete them; `checkpoints list` shows them."

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the savepoint.")]


@app.command()
def take(
    checkpoints: Directory, name: Name, job: JobOption = None, timeout: Timeout = None, json: Json = False
) -> None:
    """Take a savepoint of a running job: a checkpoint in a portable format that is never deleted by itself."""
    answer = ask(job_folder(checkpoints, job), {"command": "savepoint", "name": name}, timeout)
    if json:
        print_json(answer)
    else:
        print(f"savepoint {name} taken")


@app.command()
def delete(checkpoints: Directory, name: Name, job: JobOption = None, json: Json = False) -> None:
    """Delete a savepoint, and the files that only it names. The job must not be running."""

    async def act(storage: CheckpointStorage) -> tuple[str, ...]:
        check_savepoint_name(name)
        await storage.lock()
        try:
            return await delete_savepoint(storage, name)
        finally:
            storage.unlock()

    gone = with_storage(checkpoints, job, act)
    if json:
        print_json({"savepoint": name, "files": gone})
    else:
        print(f"savepoint {name} deleted, and {len(gone)} files that only it named")


@app.command()
def check(
    target: Target,
    *,
    restore: RestoreWhat = None,
    values: Annotated[
        bool, typer.Option("--values", help="Read every value and run the upgrade functions over all of them.")
    ] = False,
    rename: Rename = None,
    config: ConfigFile = None,
    profile: Profile = None,
    settings: Settings = None,
    checkpoints: Checkpoints = None,
    parallelism: Parallelism = None,
    job: JobName = None,
    json: Json = False,
) -> int:
    """Say what would become of the state if TARGET started from a checkpoint or savepoint. Changes nothing.

    Ends with 0 when the topology fits and with 1 when it does not.
    """
    topology = load_topology(target)
    flags = {
        "checkpoints": checkpoints,
        "parallelism": parallelism,
        "job": job,
        "restore": restore,
        "rename": renames(rename),
    }
    chosen = settings_from(config, profile, settings, flags)
    validate(topology)
    plan = make_plan(topology, chosen.parallelism, chosen.max_parallelism)
    fitted, checked = asyncio.run(_judged(plan, chosen, values=values))
    fits = not fitted.problems and (checked is None or not checked.faulty)
    if json:
        print_json(_facts(fitted, checked, fits=fits))
    else:
        print("\n".join(_lines(fitted, checked, plan, fits=fits)))
    return ExitCode.OK if fits else ExitCode.FAILED


async def _judged(plan: Plan, config: RunConfig, *, values: bool) -> tuple[Fit, CheckedValues | None]:
    location = config.restore_from or config.checkpoints
    if location is None:
        raise UsageError("there is nothing to check against: give --checkpoints DIR")
    executor = ThreadExecutor()
    try:
        storage = storage_at(location, config, config.job or plan.topology.name, executor, SystemClock())
        fitted = fit_to(plan, config, await _wanted(storage, config))
        if not values:
            return fitted, None
        return fitted, await check_values(storage, fitted, plan, config.allow_dropped, executor)
    finally:
        executor.close()


async def _wanted(storage: CheckpointStorage, config: RunConfig) -> Manifest:
    decision = choose_restore(await storage.list(), "none" if config.restore is None else config.restore)
    if isinstance(decision, Refuse):
        raise CheckpointError(decision.reason)
    if isinstance(decision, StartFresh):
        raise UsageError(f"{storage.address}: there is no checkpoint to check against")
    assert isinstance(decision, Restore)
    for damage in decision.passed_over:
        print(f"passed over: {damage}", file=sys.stderr)
    return decision.manifest


def _facts(fitted: Fit, checked: CheckedValues | None, *, fits: bool) -> dict[str, Any]:
    facts = {
        "fits": fits,
        "checkpoint_id": fitted.manifest.checkpoint_id,
        "savepoint": fitted.manifest.name,
        "rehashed": fitted.rehashed,
        "nodes": [dataclasses.asdict(node) for node in fitted.nodes],
        "problems": fitted.problems,
    }
    return facts if checked is None else facts | {"values": dataclasses.asdict(checked)}


_WORDS = {
    "as_is": "restored as it is",
    "upgraded": "upgraded",
    "empty": "starts empty",
    "dropped": "dropped",
    "refused": "REFUSED",
}


def _lines(fitted: Fit, checked: CheckedValues | None, plan: Plan, *, fits: bool) -> list[str]:
    manifest = fitted.manifest
    lines = [f"{plan.topology.name} from {manifest.title} (id {manifest.checkpoint_id}):"]
    if fitted.rehashed:
        lines.append(
            f"  {manifest.max_parallelism} key groups become {plan.max_parallelism}: every key is assigned to one anew"
        )
    for node in fitted.nodes:
        lines.append(f"  {_node_line(node)}")
        lines += [f"    {_state_line(state)}" for state in node.states if state.outcome != "refused"]
        lines += [f"    - {problem}" for problem in node.problems]
    lines += [f"  - {problem}" for problem in fitted.general]
    if checked is not None:
        lines.append(f"{checked.values} values read, {checked.faulty} cannot be restored")
        lines += [f"  - {fault.key}: {fault.problem}" for fault in checked.faults]
    lines.append("it fits" if fits else "it does not fit")
    return lines


def _node_line(node: NodeFit) -> str:
    was = f", renamed from {node.was}" if node.was is not None else ""
    words = [] if node.outcome == "as_is" and node.note else [_WORDS[node.outcome]]
    return f"{node.role} {node.operator_id}{was}: {'; '.join([*words, *filter(None, [node.note])])}"


def _state_line(state: StateFit) -> str:
    text = f"{state.name} ({state.kind}): {_WORDS[state.outcome]}"
    if state.outcome == "upgraded":
        text += f" from version {state.was_version} to {state.version}"
    return f"{text}; {state.note}" if state.note else text
