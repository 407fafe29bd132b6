"""The starts of a job: each takes the next number, and the newest alone may write."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec

from .blobs import BlobExistsError, Blobs

ATTEMPTS: Final = "attempts"
ATTEMPTS_KEPT: Final = 20


class AttemptRecord(msgspec.Struct, frozen=True):
    """One start of a job: the content of `attempts/<n, 6 digits>.json`, one JSON object.

    Attributes:
        attempt: the number, from 1.
        started_at_ms: when, milliseconds since 1970 UTC.
        last_checkpoint_id: the highest checkpoint id there was then, 0 for none: an id is not used twice even
            when manifests get lost, and their loss is noticed.
        info: what the starter says about itself (`host`, `pid`…); JSON values only.
        token: tells this start from any other that writes the same about itself.
    """

    attempt: int
    started_at_ms: int
    last_checkpoint_id: int
    info: dict[str, Any] = {}
    token: str = ""

    @property
    def who(self) -> str:
        """The starter, for messages."""
        told = ", ".join(f"{name} {value}" for name, value in self.info.items())
        return f"attempt {self.attempt}" + (f" ({told})" if told else "")


class Attempts:
    """The records of a job's starts. Blocking; called through the executor."""

    def __init__(self, blobs: Blobs, job: str) -> None:
        self._blobs = blobs
        self._job = job

    def claim(self, now_ms: int, last_checkpoint_id: int, info: dict[str, Any], *, above: int = 0) -> AttemptRecord:
        """Take the next number. Two that claim at the same time get different ones, also where a listing shows late
        what is there.

        Args:
            above: a number that was used, as checkpoints tell where records are lost.

        Raises:
            CheckpointError: the storage refuses.
        """
        attempt, token = above, secrets.token_hex(8)
        while True:
            attempt = max([*self._numbers(), attempt]) + 1
            record = AttemptRecord(attempt, now_ms, last_checkpoint_id, info, token)
            try:
                self._blobs.put(self._path(attempt), msgspec.json.encode(record) + b"\n", create=True)
            except BlobExistsError:
                continue
            return record

    def newest(self) -> AttemptRecord | None:
        """The latest start; None when the job was never started here."""
        attempt = max(self._numbers(), default=0)
        return None if attempt == 0 else self._read(attempt)

    def last_checkpoint_id(self) -> int:
        """The highest checkpoint id that any start has seen; 0 for none."""
        return max((self._read(n).last_checkpoint_id for n in sorted(self._numbers())[-ATTEMPTS_KEPT:]), default=0)

    def clear(self) -> None:
        """Delete all records but the newest few."""
        self._blobs.delete([self._path(attempt) for attempt in sorted(self._numbers())[:-ATTEMPTS_KEPT]])

    def _numbers(self) -> list[int]:
        names = [blob.path.rsplit("/", 1)[-1].removesuffix(".json") for blob in self._blobs.list(self._folder)]
        return [int(name) for name in names if name.isdigit()]

    def _read(self, attempt: int) -> AttemptRecord:
        # The number alone fences: a record that cannot be read still counts.
        try:
            return msgspec.json.decode(self._blobs.get(self._path(attempt)) or b"", type=AttemptRecord)
        except msgspec.MsgspecError:
            return AttemptRecord(attempt, 0, 0)

    @property
    def _folder(self) -> str:
        return f"{self._job}/{ATTEMPTS}"

    def _path(self, attempt: int) -> str:
        return f"{self._folder}/{attempt:06d}.json"
