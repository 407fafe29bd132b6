"""The starts of a job: each takes the next number, and the newest alone may write."""

from __future__ import annotations

import secrets
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from .blobs import BlobExistsError, Blobs
from .line import Start

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
        process: tells the starts of one process from those of others, which take the job over.
        began_from: the checkpoint that it restored, 0 for none; None while that is not decided.
        began_from_attempt: the attempt that wrote that checkpoint.
    """

    attempt: int
    started_at_ms: int
    last_checkpoint_id: int
    info: dict[str, Any] = {}
    token: str = ""
    process: str = ""
    began_from: int | None = None
    began_from_attempt: int = 0

    @property
    def who(self) -> str:
        """The starter, for messages."""
        told = ", ".join(f"{name} {value}" for name, value in self.info.items())
        return f"attempt {self.attempt}" + (f" ({told})" if told else "")

    @property
    def start(self) -> Start | None:
        """What it began from; None while that is not decided."""
        return None if self.began_from is None else Start(self.began_from, self.began_from_attempt)


class Attempts:
    """The records of a job's starts. Blocking; called through the executor."""

    def __init__(self, blobs: Blobs, job: str) -> None:
        self._blobs = blobs
        self._job = job
        self._process = secrets.token_hex(8)
        self._final: dict[int, AttemptRecord] = {}

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
            record = AttemptRecord(attempt, now_ms, last_checkpoint_id, info, token, self._process)
            try:
                self._blobs.put(self._path(attempt), msgspec.json.encode(record) + b"\n", create=True)
            except BlobExistsError:
                continue
            self._final[attempt] = record  # nobody else writes to it
            return record

    def begin(self, record: AttemptRecord, checkpoint_id: int, attempt: int) -> AttemptRecord:
        """Write down what a start begins from, which no other start may undo: the record is its own.

        Args:
            record: as it was claimed.
            checkpoint_id: the checkpoint that is restored; 0 for none.
            attempt: the attempt that wrote it.

        Raises:
            CheckpointError: the storage refuses.
        """
        record = replace(record, began_from=checkpoint_id, began_from_attempt=attempt)
        self._blobs.put(self._path(record.attempt), msgspec.json.encode(record) + b"\n")
        self._final[record.attempt] = record
        return record

    def newest(self) -> AttemptRecord | None:
        """The latest start; None when the job was never started here."""
        attempt = max(self._numbers(), default=0)
        return None if attempt == 0 else self.read(attempt)

    def kept(self) -> tuple[list[AttemptRecord], list[int]]:
        """The newest few starts: the records that are known and will not change, and the numbers of those to be read."""
        numbers = sorted(self._numbers())[-ATTEMPTS_KEPT:]
        known = [self._final[attempt] for attempt in numbers if attempt in self._final]
        return known, [attempt for attempt in numbers if attempt not in self._final]

    def taken_over(self, after: int) -> AttemptRecord | None:
        """The newest start when it is after `after` and another process's; None when it is not, or cannot be read."""
        newest = self.newest()
        if newest is None or newest.attempt <= after or not newest.token or newest.process == self._process:
            return None
        return newest

    def clear(self) -> None:
        """Delete all records but the newest few."""
        self._blobs.delete([self._path(attempt) for attempt in sorted(self._numbers())[:-ATTEMPTS_KEPT]])

    def _numbers(self) -> list[int]:
        names = [blob.path.rsplit("/", 1)[-1].removesuffix(".json") for blob in self._blobs.list(self._folder)]
        return [int(name) for name in names if name.isdigit()]

    def read(self, attempt: int) -> AttemptRecord:
        """The record of a start by its number; one that is lost or damaged says nothing but that.

        Raises:
            CheckpointError: the storage refuses.
        """
        if attempt in self._final:
            return self._final[attempt]
        # The number alone fences: a record that cannot be read still counts.
        try:
            record = msgspec.json.decode(self._blobs.get(self._path(attempt)) or b"", type=AttemptRecord)
        except msgspec.MsgspecError:
            return AttemptRecord(attempt, 0, 0)
        if record.began_from is not None:
            self._final[attempt] = record
        return record

    @property
    def _folder(self) -> str:
        return f"{self._job}/{ATTEMPTS}"

    def _path(self, attempt: int) -> str:
        return f"{self._folder}/{attempt:06d}.json"
