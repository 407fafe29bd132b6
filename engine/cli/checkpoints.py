"""`tidegate checkpoints`: list, show, verify and prune the checkpoints of a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from ...operators.time import duration_ms, format_ms
from ..checkpoint.decisions import Deletions, named_contents, what_to_delete
from ..checkpoint.listing import CheckpointInfo
from ..checkpoint.manifest import Manifest
from ..checkpoint.retention import apply_retention, sweep
from ..checkpoint.storage import CheckpointStorage
from ..metrics.live import size
from .checkpoint_folder import Directory, JobOption, time_text, wanted_of, with_storage, with_storages
from .options import Json, new_app
from .output import ExitCode, UsageError, print_json

app = new_app()
app.info.help = "List, show, verify and prune checkpoints."

Which = Annotated[str, typer.Argument(metavar="ID|NAME|latest", help="A checkpoint's id or a savepoint's name.")]


@app.command("list")
def list_command(checkpoints: Directory, job: JobOption = None, json: Json = False) -> None:
    """Show which checkpoints and savepoints there are. Damaged manifests are named; files are not read."""

    async def act(storages: list[CheckpointStorage]) -> list[tuple[str, CheckpointInfo]]:
        return [(storage.job, info) for storage in storages for info in await storage.list()]

    found = with_storages(checkpoints, job, act)
    if json:
        print_json([{"job": name} | _summary(info) for name, info in found])
        return
    if not found:
        print("no checkpoint has been completed yet")
    for name, info in found:
        print(f"{name}: {_line(info)}")


@app.command()
def show(checkpoints: Directory, which: Which = "latest", job: JobOption = None, json: Json = False) -> None:
    """Show what a checkpoint holds: operators, offsets, output to commit."""
    manifest = with_storage(checkpoints, job, lambda storage: read(storage, which))
    if json:
        print_json(msgspec.to_builtins(manifest))
        return
    print("\n".join(_description(manifest)))


@app.command()
def verify(
    checkpoints: Directory,
    which: Annotated[str | None, typer.Argument(metavar="[ID|NAME|latest]", help="All if none is given.")] = None,
    job: JobOption = None,
    json: Json = False,
) -> int:
    """Read every byte and compare it with the manifest. Ends with 1 when anything is damaged."""

    async def act(storages: list[CheckpointStorage]) -> list[dict[str, Any]]:
        if which is not None and len(storages) > 1:
            raise UsageError(f"{checkpoints}: several jobs are here: give --job")
        return [await check(storage, info) for storage in storages for info in await chosen(storage)]

    async def chosen(storage: CheckpointStorage) -> Sequence[CheckpointInfo]:
        if which is None:
            return await storage.list()
        if which == "latest":
            return [await _latest(storage)]
        return [await storage.find(wanted_of(which))]

    async def check(storage: CheckpointStorage, info: CheckpointInfo) -> dict[str, Any]:
        # One without a readable id is damaged already: there is nothing to look up.
        wanted = info.name or info.checkpoint_id
        problems = [f"{info.path}: {info.problem}"] if info.problem is not None or wanted is None else None
        if problems is None:
            assert wanted is not None
            problems = list(await storage.verify(wanted))
        return {"job": storage.job, "checkpoint": info.title, "id": info.checkpoint_id, "problems": problems}

    results = with_storages(checkpoints, job, act)
    damaged = [result for result in results if result["problems"]]
    if json:
        print_json(results)
        return ExitCode.FAILED if damaged else ExitCode.OK
    for result in results:
        print(f"{result['job']}: {result['checkpoint']}: {'DAMAGED' if result['problems'] else 'whole'}")
        for problem in result["problems"]:
            print(f"    {problem}")
    if not results:
        print("no checkpoint has been completed yet")
    return ExitCode.FAILED if damaged else ExitCode.OK


@app.command()
def prune(
    checkpoints: Directory,
    *,
    job: JobOption = None,
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many whole checkpoints stay.")] = 1,
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="Leave unnamed files that are younger.")
    ] = "1h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, delete nothing.")] = False,
    json: Json = False,
) -> None:
    """Delete old checkpoints, and files that no checkpoint names. Savepoints stay: `savepoint delete` deletes them.

    The job must not be running. A local directory is locked meanwhile; an object store cannot be, so
    stop the job first.
    """
    try:
        grace_ms = duration_ms(grace)
    except ValueError as error:
        raise UsageError(f"--grace: {error}") from error

    async def act(storage: CheckpointStorage) -> tuple[Deletions, tuple[str, ...]]:
        await storage.lock()
        try:
            if dry_run:
                infos = await storage.list()
                planned = what_to_delete(infos, keep)
                stay = [info for info in infos if info.checkpoint_id not in planned.checkpoint_ids or info.name]
                blocked = any(info.manifest is None for info in stay)
                unnamed = () if blocked else await storage.unnamed_contents(named_contents(stay), grace_ms)
                return planned, tuple(set(unnamed) - set(planned.contents))
            deletions = await apply_retention(storage, keep)
            return deletions, await sweep(storage, grace_ms)
        finally:
            storage.unlock()

    deletions, swept = with_storage(checkpoints, job, act)
    if json:
        print_json(
            {
                "dry_run": dry_run,
                "checkpoints": deletions.checkpoint_ids,
                "files": [*deletions.contents, *swept],
                "kept_back": deletions.kept_back,
            }
        )
        return
    done = "would delete" if dry_run else "deleted"
    ids = ", ".join(map(str, deletions.checkpoint_ids)) or "none"
    print(f"{done} checkpoints: {ids}")
    print(f"{done} files: {len(deletions.contents) + len(swept)}, unnamed ones older than {format_ms(grace_ms)}")
    for reason in deletions.kept_back:
        print(f"no files go while this one is damaged, for it may name them: {reason}")


async def read(storage: CheckpointStorage, which: str) -> Manifest:
    """The manifest that an argument means: an id, a savepoint's name, or `latest`.

    Raises:
        CheckpointError: there is none.
        CorruptionError: it is damaged.
    """
    if which != "latest":
        return await storage.read(wanted_of(which))
    latest = await _latest(storage)
    return await storage.read(latest.name or latest.checkpoint_id or 0)


async def _latest(storage: CheckpointStorage) -> CheckpointInfo:
    infos = [info for info in await storage.list() if info.checkpoint_id is not None]
    if not infos:
        raise UsageError(f"{storage.address}: no checkpoint has been completed yet")
    return infos[-1]


def _summary(info: CheckpointInfo) -> dict[str, Any]:
    found: dict[str, Any] = {"id": info.checkpoint_id, "kind": info.kind, "name": info.name, "path": info.path}
    manifest = info.manifest
    if manifest is None:
        return found | {"problem": info.problem}
    return found | {
        "attempt": manifest.attempt,
        "completed_at_ms": manifest.completed_at_ms,
        "duration_ms": manifest.completed_at_ms - manifest.triggered_at_ms,
        "state_bytes": manifest.state_bytes,
        "records": _records(manifest),
        "finished": manifest.finished,
        "unaligned": bool(manifest.in_flight),
        "in_flight_records": manifest.in_flight_records,
        "in_flight_bytes": manifest.in_flight_bytes,
        "left": info.left,
        "problem": None,
    }


def _line(info: CheckpointInfo) -> str:
    manifest = info.manifest
    if manifest is None:
        return f"{info.title}: {'DAMAGED' if info.damaged else 'UNREADABLE'}: {info.problem}"
    title = info.title if info.name is None else f"{info.title} (id {info.checkpoint_id})"
    finished = ", the streams have ended" if manifest.finished else ""
    in_flight = f", unaligned with {manifest.in_flight_records} in flight" if manifest.in_flight else ""
    left = "" if info.left is None else f"; left: {info.left}"
    return (
        f"{title}: {time_text(manifest.completed_at_ms)}, attempt {manifest.attempt}, "
        f"{size(manifest.state_bytes)} of state, {_records(manifest)} records read{in_flight}{finished}{left}"
    )


def _records(manifest: Manifest) -> int:
    return sum(entry.records for splits in manifest.sources.values() for entry in splits.values())


def _description(manifest: Manifest) -> list[str]:
    restored = "nothing" if manifest.restored_from is None else f"checkpoint {manifest.restored_from}"
    lines = [
        f"{manifest.title} (id {manifest.checkpoint_id}) of job {manifest.job}",
        f"topology      {manifest.topology}, version {manifest.topology_version}",
        f"completed     {time_text(manifest.completed_at_ms)}",
        f"took          {', '.join(f'{name} {ms} ms' for name, ms in sorted(manifest.durations_ms.items()))}",
        f"attempt       {manifest.attempt}, started from {restored}",
        f"barriers      {'overtook records: unaligned' if manifest.in_flight else 'aligned'}",
        f"key groups    {manifest.max_parallelism}",
        f"state         {size(manifest.state_bytes)} in {len(manifest.contents())} files",
    ]
    for operator_id, entry in sorted(manifest.operators.items()):
        states = sorted({s.name for subtask in entry.subtasks for s in subtask.snapshot.schemas})
        n_bytes = sum(file.size for subtask in entry.subtasks for file in subtask.files)
        lines.append(
            f"operator      {operator_id} ({entry.kind}), parallelism {entry.parallelism}, {size(n_bytes)}: "
            f"{', '.join(states) or 'no state'}"
        )
    for operator_id, splits in sorted(manifest.sources.items()):
        for split_id, split in sorted(splits.items()):
            ended = ", ended" if split.ended else ""
            lines.append(
                f"source        {operator_id}, split {split_id}: {split.records} records, offset {split.offset}{ended}"
            )
    for receiver, on_the_way in sorted(manifest.in_flight.items()):
        records = sum(subtask.records for subtask in on_the_way.subtasks)
        n_bytes = sum(file.size for subtask in on_the_way.subtasks for file in subtask.files)
        senders = ", ".join(dict.fromkeys(edge.upstream for edge in on_the_way.edges))
        lines.append(f"in flight     from {senders} to {receiver}: {records} records, {size(n_bytes)}")
    for operator_id, committables in sorted(manifest.committables.items()):
        lines.append(f"sink          {operator_id}: {len(committables)} pieces of output")
    return lines
