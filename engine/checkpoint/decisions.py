"""What to decide about checkpoints, from facts already read: no loop, no clock, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .listing import CheckpointInfo
from .manifest import Manifest

# When to open one ---------------------------------------------------------------------------------------


def next_trigger(
    now: float,
    *,
    interval: float,
    min_pause: float = 0.0,
    last_triggered: float | None = None,
    last_ended: float | None = None,
    in_flight: int = 0,
    max_in_flight: int = 1,
) -> float | None:
    """When the next checkpoint should be opened, on the clock of `now`; not after `now` means at once.

    Args:
        now: seconds on a monotonic clock.
        interval: seconds between two opened checkpoints.
        min_pause: seconds that must lie between the end of one, complete or aborted, and the next.
        last_triggered: when the last one was opened, or when the job began; None: due at once.
        last_ended: when the last one ended.
        in_flight: how many are open.
        max_in_flight: how many may be.

    Returns:
        None while as many are open as may be: ask again when one has ended.
    """
    if in_flight >= max_in_flight:
        return None
    due = now if last_triggered is None else last_triggered + interval
    return due if last_ended is None else max(due, last_ended + min_pause)


# Which one to restore -----------------------------------------------------------------------------------

Wanted: TypeAlias = int | str
"""`"latest"`, `"none"`, a checkpoint id, or a savepoint's name."""


@dataclass(frozen=True, slots=True)
class StartFresh:
    """Start from nothing: it is the first start, or it was asked for."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Start from this one.

    Attributes:
        manifest: what to restore.
        passed_over: newer ones that are damaged, one sentence each; worth a warning.
    """

    manifest: Manifest
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refuse:
    """Do not start; the reason says why and what to do."""

    reason: str


RestoreDecision: TypeAlias = StartFresh | Restore | Refuse


def choose_restore(
    infos: Sequence[CheckpointInfo],
    wanted: Wanted = "latest",
    problems_by_id: Mapping[int, Sequence[str]] | None = None,
    last_seen_id: int = 0,
    began_from_nothing: bool = False,
) -> RestoreDecision:
    """Which checkpoint to start from.

    `"latest"` is the newest of checkpoints and savepoints that is whole and was not left by a later start. It never turns
    into a start from nothing while there is, or was, anything to restore: output would be written twice. Called again with one
    more entry in `problems_by_id` each time a choice turns out to be damaged on reading its files.

    Args:
        infos: everything that is there.
        wanted: what was asked for.
        problems_by_id: checkpoint id → what is wrong with its files, for those that were found damaged.
        last_seen_id: the highest checkpoint id that earlier attempts saw; 0 when they saw none.
        began_from_nothing: the newest start began from nothing on purpose, and left what there was.
    """
    problems = problems_by_id or {}
    if wanted == "none":
        return StartFresh()
    if wanted != "latest":
        return _choose_named(infos, wanted, problems)
    passed_over: list[str] = []
    left: list[str] = []
    # One without a known id may be the newest of all, so it comes first.
    for info in sorted(infos, key=lambda info: (info.checkpoint_id is None, info.checkpoint_id or 0), reverse=True):
        if info.manifest is None and not info.damaged:
            return Refuse(f"{info.title} cannot be read: {info.path}: {info.problem}")
        if info.left is not None:
            left.append(f"{info.title}: {info.left}")
            continue
        damage = _damage(info, problems)
        if damage is None:
            assert info.manifest is not None
            return Restore(info.manifest, (*left, *passed_over))
        passed_over.append(damage)
    if passed_over:
        return Refuse(
            "every checkpoint is damaged, and a start from nothing would write output twice:\n"
            + "".join(f"  - {damage}\n" for damage in passed_over)
            + 'mend the storage, or start from nothing on purpose with restore "none"'
        )
    if last_seen_id and not (left and began_from_nothing):
        return Refuse(
            f"checkpoint {last_seen_id} was here at an earlier start and no checkpoint that leads on is here now; "
            'bring the files back, or start from nothing on purpose with restore "none"'
        )
    return StartFresh()


def _choose_named(
    infos: Sequence[CheckpointInfo], wanted: Wanted, problems: Mapping[int, Sequence[str]]
) -> RestoreDecision:
    for info in infos:
        if wanted not in (info.name, info.checkpoint_id):
            continue
        damage = _damage(info, problems)
        if damage is not None:
            return Refuse(f"{damage}; choose another one, or restore the latest whole one")
        assert info.manifest is not None
        return Restore(info.manifest)
    title = f"savepoint {wanted!r}" if isinstance(wanted, str) else f"checkpoint {wanted}"
    there = ", ".join(info.title for info in infos) or "none at all"
    return Refuse(f"there is no {title} to restore; there are: {there}")


def _damage(info: CheckpointInfo, problems: Mapping[int, Sequence[str]]) -> str | None:
    if info.manifest is None:
        return f"{info.title}: {info.path}: {info.problem}"
    found = problems.get(info.manifest.checkpoint_id)
    return f"{info.title}: {'; '.join(found)}" if found else None


# What to delete -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deletions:
    """What retention gives up.

    Attributes:
        checkpoint_ids: manifests to delete, oldest first.
        contents: contents, by SHA-256, that only those manifests name; to be deleted after them.
        kept_back: why no contents can be deleted, when manifests that stay are damaged; one sentence each.
    """

    checkpoint_ids: tuple[int, ...] = ()
    contents: tuple[str, ...] = ()
    kept_back: tuple[str, ...] = ()


def what_to_delete(
    infos: Iterable[CheckpointInfo],
    retain: int,
    in_use: Collection[int] = frozenset(),
    pinned: Collection[str] = frozenset(),
) -> Deletions:
    """Which checkpoints retention deletes, and which contents with them.

    The newest `retain` whole checkpoints stay, and with them every checkpoint that is newer than the oldest
    of these. Savepoints stay, and so do those `in_use`. Damaged ones, and those that were left, do not count as
    kept; they go with their neighbours. A content stays while any manifest that stays names it. What a damaged
    manifest names is not known, so while one stays no contents go.

    Args:
        infos: everything that is there.
        retain: how many whole checkpoints to keep, at least 1.
        in_use: checkpoints that are being restored or were just chosen to be.
        pinned: contents of a checkpoint that is under way.
    """
    if retain < 1:
        raise ValueError(f"at least one checkpoint must be kept, not {retain}")
    infos = list(infos)
    whole = sorted(
        info.checkpoint_id
        for info in infos
        if info.kind == "checkpoint" and info.manifest is not None and info.checkpoint_id is not None and not info.left
    )
    # With fewer whole ones than to be kept, nothing goes: a damaged one may be all that is left to mend.
    oldest_kept = whole[-retain] if len(whole) >= retain else 0
    gone = [
        info
        for info in infos
        if info.kind == "checkpoint"
        and info.checkpoint_id is not None
        and info.checkpoint_id < oldest_kept
        and info.checkpoint_id not in in_use
    ]
    ids = tuple(sorted(info.checkpoint_id for info in gone if info.checkpoint_id is not None))
    kept = [info for info in infos if info not in gone]
    unreadable = tuple(f"{info.title}: {info.path}: {info.problem}" for info in kept if info.manifest is None)
    if unreadable:
        return Deletions(ids, (), unreadable)
    candidates = {sha256 for info in gone if info.manifest is not None for sha256 in info.manifest.contents()}
    return Deletions(ids, tuple(sorted(candidates - named_contents(kept) - set(pinned))))


def named_contents(infos: Iterable[CheckpointInfo]) -> set[str]:
    """Every content that a readable manifest names."""
    return {sha256 for info in infos if info.manifest is not None for sha256 in info.manifest.contents()}
