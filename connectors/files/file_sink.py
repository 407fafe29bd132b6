"""The sink of files: staged parts, made visible by a rename when their checkpoint is complete.

    out/part-0-00000007-0.jsonl          visible: subtask 0, checkpoint 7, first part
    out/.staged/a2-s0-14.part            being written, or prepared: attempt 2, subtask 0
    out/.staged/owner.json               which job and sink the folder belongs to
    out/.staged/retracted-…/             parts that a restore went back behind

A part holds records of one subtask between two barriers, so its name says what is in it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from ...operators.batch import Batch
from ..sink import Committable, Guarantee, SinkContext, SinkError
from .partitions import FolderOf
from .parts import OpenPart, Part
from .paths import Root

_LOG: Final = logging.getLogger("tidegate.connectors.files")

_FLUSH_BYTES: Final = 1 << 20
_MOST_WAITING_BYTES: Final = 64 << 20

Existing = Literal["set_aside", "fail", "keep"]


class Owner(msgspec.Struct, frozen=True):
    """What the ownership file says.

    Attributes:
        job: the job that writes here.
        operator_id: its sink.
        run: how often it began anew and kept what was there.
    """

    job: str
    operator_id: str
    run: int = 0


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """How parts are written.

    Attributes:
        folder: where to.
        guarantee: exactly once stages and renames; at least once appends to visible files.
        open_part: makes the file.
        suffix: of the names.
        appendable: a part may be shown while it grows.
        folder_of: partition folders.
        roll_bytes: begin another part when one is this large.
        roll_ms: begin another part when one is this old.
        existing: what happens to earlier parts when the job starts from nothing.
    """

    folder: str
    guarantee: Guarantee
    open_part: OpenPart
    suffix: str
    appendable: bool
    folder_of: FolderOf | None
    roll_bytes: int | None
    roll_ms: int | None
    existing: Existing

    @property
    def staging(self) -> str:
        return os.path.join(self.folder, ".staged")


class FileWriter:
    """Writes the parts of one subtask."""

    def __init__(self, settings: SinkSettings, context: SinkContext) -> None:
        self._settings = settings
        self._context = context
        self._in_place = settings.guarantee == "at_least_once" and settings.appendable
        self._parts: dict[str, Part] = {}
        self._rolled: list[tuple[str, Part]] = []
        self._opened = 0
        self._waiting_bytes = 0
        self._counted_bytes = 0
        self._run = 0

    async def open(self) -> None:
        owner: Owner = await self._blocking(claim, self._settings, self._context)
        self._run = owner.run

    async def write(self, batch: Batch[Any]) -> None:
        folder_of = self._settings.folder_of
        if folder_of is None:
            await self._write("", batch.values)
            return
        groups: dict[str, list[Any]] = {}
        for folder, value in zip(folder_of(batch), batch.values, strict=True):
            groups.setdefault(folder, []).append(value)
        for folder, values in groups.items():
            await self._write(folder, values)

    async def _write(self, folder: str, values: list[Any]) -> None:
        part = self._parts.get(folder)
        if part is None:
            path = await self._blocking(self._new_path, folder)
            part = self._parts[folder] = self._settings.open_part(path, self._context.now_ms())
        before = part.waiting_bytes
        try:
            part.add(values)
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            raise SinkError(f"{part.path}: a record cannot be written: {error}", retriable=False) from error
        self._waiting_bytes += part.waiting_bytes - before
        if part.waiting_bytes >= _FLUSH_BYTES:
            self._waiting_bytes -= part.waiting_bytes
            await self._blocking(part.flush)
        elif self._waiting_bytes >= _MOST_WAITING_BYTES:
            self._waiting_bytes = 0
            await self._blocking(_each, [open_part.flush for open_part in self._parts.values()])
        if self._is_full(part):
            await self._blocking(part.finish)
            self._rolled.append((folder, self._parts.pop(folder)))

    def _is_full(self, part: Part) -> bool:
        settings = self._settings
        if settings.roll_bytes is not None and part.n_bytes >= settings.roll_bytes:
            return True
        return settings.roll_ms is not None and self._context.now_ms() - part.opened_ms >= settings.roll_ms

    def _new_path(self, folder: str) -> str:
        context, settings = self._context, self._settings
        if not self._in_place:
            self._opened += 1
            return os.path.join(settings.staging, f"a{context.attempt}-s{context.subtask}-{self._opened}.part")
        return self._unused(folder)

    def _unused(self, folder: str) -> str:
        """A visible name that is not taken: what an earlier attempt appended last may be half a record."""
        context, settings = self._context, self._settings
        os.makedirs(os.path.join(settings.folder, folder), exist_ok=True)
        while True:
            name = f"part-{context.subtask}-a{context.attempt}-{self._opened}{settings.suffix}"
            self._opened += 1
            path = os.path.join(settings.folder, folder, name)
            if not os.path.exists(path):
                return path

    async def prepare_commit(self, checkpoint_id: int) -> list[Committable]:
        if self._in_place:
            await self._blocking(self._sync_visible)
            self._waiting_bytes = 0
            shown = [part for _, part in self._rolled] + list(self._parts.values())
            total = sum(part.n_bytes for part in shown)
            self._context.count("bytes", total - self._counted_bytes)
            self._counted_bytes = total - sum(part.n_bytes for _, part in self._rolled)
            self._rolled.clear()
            return []
        parts = [*self._rolled, *self._parts.items()]
        if not parts:
            return []
        open_parts = list(self._parts.values())
        await self._blocking(self._finish, open_parts)
        self._rolled, self._parts, self._waiting_bytes = [], {}, 0
        self._context.count("bytes", sum(part.n_bytes for _, part in parts))
        if self._settings.guarantee == "at_least_once":
            await self._blocking(self._show, parts)
            return []
        run = f"r{self._run}-" if self._run else ""
        subtask, suffix = self._context.subtask, self._settings.suffix
        return [
            {
                "staged": os.path.basename(part.path),
                "path": os.path.join(folder, f"part-{run}{subtask}-{checkpoint_id:08d}-{number}{suffix}"),
                "bytes": part.n_bytes,
                "records": part.n_records,
            }
            for number, (folder, part) in enumerate(parts)
        ]

    def _finish(self, parts: Sequence[Part]) -> None:
        for part in parts:
            part.finish()
        sync_folder(self._settings.staging)

    def _sync_visible(self) -> None:
        for part in self._parts.values():
            part.sync()
        for folder in {os.path.dirname(part.path) for part in self._parts.values()}:
            sync_folder(folder)

    def _show(self, parts: Sequence[tuple[str, Part]]) -> None:
        for folder, part in parts:
            path = self._unused(folder)
            os.rename(part.path, path)
            sync_folder(os.path.dirname(path))

    async def _blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        return await blocking(self._settings, self._context, function, *args)

    async def close(self) -> None:
        for part in self._parts.values():
            part.discard()
        self._parts.clear()


async def blocking(settings: SinkSettings, context: SinkContext, function: Callable[..., Any], *args: Any) -> Any:
    """Run what waits for the disk; failures become a `SinkError` that names the file and the remedy."""
    try:
        return await context.blocking(function, *args)
    except SinkError:
        raise
    except OSError as error:
        path = error.filename or settings.folder
        remedy, retriable = _REMEDIES.get(error.errno or 0, ("see what the system says", True))
        raise SinkError(
            f"{path}: cannot be written: {error.strerror or error}; {remedy}", retriable=retriable
        ) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise SinkError(f"{settings.folder}: records cannot be written: {error}", retriable=False) from error


_REMEDIES: Final = {
    errno.ENOSPC: ("make room on the disk", True),
    errno.EDQUOT: ("make room in the quota", True),
    errno.EMFILE: ("raise the limit of open files (ulimit -n)", True),
    errno.EACCES: ("give this user the right to write there", False),
    errno.EPERM: ("give this user the right to write there", False),
    errno.EROFS: ("the file system is read-only; choose another folder", False),
    errno.ENOTDIR: ("the path of a sink is a folder; choose another", False),
    errno.EEXIST: ("the path of a sink is a folder; choose another", False),
}


def claim(settings: SinkSettings, context: SinkContext, anew: bool = False) -> Owner:
    """Make the folder this sink's own. Blocks.

    Args:
        anew: count one more run.

    Raises:
        SinkError: it belongs to another job or sink.
    """
    path = os.path.join(settings.staging, "owner.json")
    os.makedirs(settings.staging, exist_ok=True)
    owner = Owner(context.job, context.operator_id)
    try:
        with open(path, "rb") as file:
            there = msgspec.json.decode(file.read(), type=Owner)
    except FileNotFoundError:
        there = None
    except msgspec.MsgspecError as error:
        raise SinkError(f"{path}: not readable: {error}; remove it to take the folder", retriable=False) from error
    handed_over = there is not None and there.operator_id == context.renamed_from and there.job == owner.job
    if there is not None:
        if (there.job, there.operator_id) != (owner.job, owner.operator_id) and not handed_over:
            raise SinkError(
                f"{settings.folder}: belongs to the sink {there.operator_id!r} of the job {there.job!r}; choose "
                f"another folder, or remove {path} to hand it over",
                retriable=False,
            )
        if not anew and not handed_over:
            return there
        owner = Owner(owner.job, owner.operator_id, there.run + 1 if anew else there.run)
    with open(path + ".new", "wb") as file:
        file.write(msgspec.json.encode(owner))
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    # The folders may be new: their own entries must outlive a power failure too.
    for folder in (settings.staging, settings.folder, os.path.dirname(os.path.abspath(settings.folder))):
        sync_folder(folder)
    return owner


def commit_parts(settings: SinkSettings, committables: Sequence[Committable]) -> None:
    """Show prepared parts. Idempotent. Blocks.

    Raises:
        SinkError: a part is neither prepared nor visible, or not as long as it was.
    """
    changed = set()
    for committable in committables:
        staged = os.path.join(settings.staging, committable["staged"])
        final = os.path.join(settings.folder, committable["path"])
        try:
            size = os.stat(staged).st_size
        except FileNotFoundError:
            if not os.path.exists(final):
                raise SinkError(
                    f"{final}: the part is neither there nor prepared as {staged}: somebody removed it. When that was "
                    "meant, put an empty file in its place to go on",
                    retriable=False,
                ) from None
            continue
        if size != committable["bytes"]:
            raise SinkError(
                f"{staged}: has {size} bytes, but was prepared with {committable['bytes']}: it is damaged. Start from "
                "an older checkpoint",
                retriable=False,
            )
        folder = os.path.dirname(final)
        while folder not in changed and len(folder) >= len(settings.folder.rstrip("/")) and folder:
            changed.add(folder)
            folder = os.path.dirname(folder)
        os.makedirs(os.path.dirname(final), exist_ok=True)
        os.replace(staged, final)
    for folder in sorted(changed):
        sync_folder(folder)
    if changed:
        sync_folder(settings.staging)


def written_parts(settings: SinkSettings, after: int | None, until: int | None) -> list[str]:
    """Names of the visible parts, by name, that checkpoints behind `after` and up to `until` made visible; all when both are
    None. Blocks.

    Raises:
        SinkError: parts do not tell their checkpoint.
    """
    if after is None and until is None:
        return Root(settings.folder).list()
    if settings.guarantee == "at_least_once":
        raise SinkError(
            f'{settings.folder}: with delivery="at_least_once" parts do not tell which checkpoint they belong to',
            retriable=False,
        )
    try:
        with open(os.path.join(settings.staging, "owner.json"), "rb") as file:
            run = msgspec.json.decode(file.read(), type=Owner).run
    except FileNotFoundError:
        run = 0
    return _visible(settings, run, -1 if after is None else after, until)


def recover_parts(
    settings: SinkSettings, context: SinkContext, checkpoint_id: int | None, committables: Sequence[Committable]
) -> None:
    """See `Sink.recover`. Blocks."""
    owner = claim(settings, context)
    commit_parts(settings, committables)
    for name in os.listdir(settings.staging):
        if name.endswith(".part"):
            os.unlink(os.path.join(settings.staging, name))
    if settings.guarantee == "at_least_once":
        return
    newer = _visible(settings, owner.run, -1 if checkpoint_id is None else checkpoint_id)
    if not newer:
        return
    if checkpoint_id is None and settings.existing == "keep":
        claim(settings, context, anew=True)
        return
    if checkpoint_id is None and settings.existing == "fail":
        raise SinkError(
            f"{settings.folder}: holds {len(newer)} parts of an earlier run, and the job starts from nothing. Remove "
            'them, start from a checkpoint, or set existing="set_aside" or "keep"',
            retriable=False,
        )
    aside = os.path.join(settings.staging, f"retracted-{context.attempt}-{context.now_ms()}")
    for name in newer:
        os.makedirs(os.path.dirname(os.path.join(aside, name)), exist_ok=True)
        os.replace(os.path.join(settings.folder, name), os.path.join(aside, name))
    for folder in {os.path.dirname(os.path.join(settings.folder, name)) for name in newer}:
        sync_folder(folder)
    since = "the job starts from nothing" if checkpoint_id is None else f"checkpoint {checkpoint_id} is restored"
    _LOG.warning("%s: %d parts moved to %s, because %s", settings.folder, len(newer), aside, since)


_PART: Final = re.compile(r"part-(?:r(\d+)-)?\d+-(\d{8,})-\d+\.")


def _visible(settings: SinkSettings, run: int, newer_than: int, up_to: int | None = None) -> list[str]:
    """Names of the visible parts of a run with a newer checkpoint id, not above `up_to`."""
    found = []
    for folder, below, names in os.walk(settings.folder):
        below[:] = [name for name in below if not name.startswith(".")]
        for name in names:
            match = _PART.match(name)
            if match is None or int(match[1] or 0) != run:
                continue
            if int(match[2]) > newer_than and (up_to is None or int(match[2]) <= up_to):
                found.append(os.path.relpath(os.path.join(folder, name), settings.folder))
    return sorted(found)


def sync_folder(folder: str) -> None:
    """Make renames in a folder durable. Blocks."""
    handle = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _each(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()
