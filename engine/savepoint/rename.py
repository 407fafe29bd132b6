"""Names in a checkpoint as the topology has them now. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import msgspec

from ..checkpoint.manifest import Manifest, OperatorEntry

T = TypeVar("T")


def renamed(
    manifest: Manifest,
    rename: Mapping[str, str],
    fingerprint: str,
    names: Collection[str],
    keeping: Collection[str],
) -> tuple[Manifest, dict[str, str], list[str]]:
    """A manifest under the names of today.

    A checkpoint that this very topology wrote has them already. So the setting may stay where it is after a restore,
    and restarts take no harm from it.

    Args:
        manifest: what is restored.
        rename: the name in the checkpoint → the name now.
        fingerprint: of the topology now.
        names: of all nodes of the topology now.
        keeping: those of `names` that a checkpoint always holds something of: sources, and operators with state.

    Returns: the manifest; new name → old name for what was renamed; one sentence per problem, with its remedy.
    """
    if manifest.fingerprint == fingerprint:
        return manifest, {}, []
    known = {*manifest.operators, *manifest.sources, *manifest.committables, *_on_the_way(manifest)}
    done: dict[str, str] = {}
    problems: list[str] = []
    for old, new in rename.items():
        there = ", ".join(sorted(known)) or "nothing"
        if new not in names:
            problems.append(
                f"rename {old!r} to {new!r}: the topology has no {new!r}; it has {', '.join(sorted(names))}"
            )
        elif old not in known and new in known:
            continue  # renamed by an earlier restore
        elif old not in known and new in keeping:
            problems.append(f"rename {old!r} to {new!r}: {manifest.title} holds no {old!r}; it holds {there}")
        elif new in known:
            problems.append(
                f"rename {old!r} to {new!r}: {manifest.title} holds both; give the operator another name, or leave the "
                "rename out"
            )
        else:
            done[new] = old
    if problems or not done:
        return manifest, {}, problems
    new_of = {old: new for new, old in done.items()}

    def under_new_names(entries: Mapping[str, T]) -> dict[str, Any]:
        return {new_of.get(name, name): entry for name, entry in entries.items()}

    operators = {
        name: _of_operator(entry, name) if name in done else entry
        for name, entry in under_new_names(manifest.operators).items()
    }
    manifest = msgspec.structs.replace(
        manifest,
        operators=operators,
        sources=under_new_names(manifest.sources),
        committables=under_new_names(manifest.committables),
        in_flight={
            name: msgspec.structs.replace(
                entry,
                edges=tuple(
                    msgspec.structs.replace(edge, upstream=new_of.get(edge.upstream, edge.upstream))
                    for edge in entry.edges
                ),
            )
            for name, entry in under_new_names(manifest.in_flight).items()
        },
    )
    return manifest, done, []


def _of_operator(entry: OperatorEntry, name: str) -> OperatorEntry:
    replace = msgspec.structs.replace
    subtasks = [replace(state, snapshot=replace(state.snapshot, operator_id=name)) for state in entry.subtasks]
    return replace(entry, subtasks=tuple(subtasks))


def _on_the_way(manifest: Manifest) -> set[str]:
    """The operators between which records were in flight."""
    return {*manifest.in_flight, *(edge.upstream for entry in manifest.in_flight.values() for edge in entry.edges)}
