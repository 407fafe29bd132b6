"""Which checkpoints there are, whole or damaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ..errors import CheckpointError
from .blobs import Blobs
from .manifest import Manifest, ManifestDamage, decode, salvage_checkpoint_id

CHECKPOINTS: Final = "checkpoints"
SAVEPOINTS: Final = "savepoints"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """One checkpoint or savepoint as a listing shows it.

    Attributes:
        checkpoint_id: None for a damaged savepoint whose id cannot be read.
        name: a savepoint's name.
        path: the manifest, as people write it.
        manifest: None when it cannot be used.
        problem: why it cannot be used; None when it can, as far as the manifest goes.
        damaged: the manifest is not what was written. False for one that a newer version wrote.
        left: why it does not lead to the newest start of the job, which passed it over; None when it does.
    """

    checkpoint_id: int | None
    kind: Literal["checkpoint", "savepoint"]
    name: str | None
    path: str
    manifest: Manifest | None
    problem: str | None = None
    damaged: bool = False
    left: str | None = None

    @property
    def title(self) -> str:
        """What messages call it: `checkpoint 7`, `savepoint 'before-deploy'`."""
        return f"checkpoint {self.checkpoint_id}" if self.name is None else f"savepoint {self.name!r}"


def manifest_path(job: str, checkpoint_id: int, savepoint: str | None = None) -> str:
    """The manifest of a checkpoint, or of a savepoint by its name, relative to the storage."""
    folder = f"{CHECKPOINTS}/{checkpoint_id:010d}" if savepoint is None else f"{SAVEPOINTS}/{savepoint}"
    return f"{job}/{folder}/{MANIFEST}"


def list_checkpoints(blobs: Blobs, job: str) -> list[CheckpointInfo]:
    """Every checkpoint and savepoint of a job by id; those without a known id come last. Blocking.

    Raises:
        CheckpointError: the storage cannot be read.
    """
    infos: list[CheckpointInfo] = []
    for folder in (CHECKPOINTS, SAVEPOINTS):
        for blob in blobs.list(f"{job}/{folder}"):
            parts = blob.path.split("/")
            if len(parts) != 4 or parts[3] != MANIFEST:
                continue
            if folder == SAVEPOINTS:
                info = inspect(blobs, blob.path, None, parts[2])
            elif parts[2].isdigit():
                info = inspect(blobs, blob.path, int(parts[2]), None)
            else:
                continue
            if info is not None:
                infos.append(info)
    return sorted(infos, key=lambda info: (info.checkpoint_id is None, info.checkpoint_id or 0, info.path))


def inspect(blobs: Blobs, path: str, checkpoint_id: int | None, name: str | None) -> CheckpointInfo | None:
    """One entry, by the id or the name that its path says; None when there is none (any more). Blocking."""
    data = blobs.get(path)
    if data is None:
        return None
    kind: Literal["checkpoint", "savepoint"] = "checkpoint" if name is None else "savepoint"
    where = blobs.address(path)
    try:
        manifest = decode(data)
        if (manifest.kind, manifest.name) != (kind, name) or checkpoint_id not in (
            None,
            manifest.checkpoint_id,
        ):
            raise ManifestDamage(f"it is the manifest of {manifest.title}")
    except ManifestDamage as error:
        damaged = True
        problem = str(error)
    except CheckpointError as error:
        damaged = False
        problem = str(error)
    else:
        return CheckpointInfo(manifest.checkpoint_id, kind, name, where, manifest)
    known_id = salvage_checkpoint_id(data) if checkpoint_id is None else checkpoint_id
    return CheckpointInfo(known_id, kind, name, where, None, problem, damaged)
