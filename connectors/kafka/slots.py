"""Which transactional ids a writer uses, and when one may be used again.

A writer needs a few: one that is written to, one that is ready for the next barrier, and those that are prepared and
wait for their commit. They are used in turn. An id of a prepared transaction must not be touched, since to renew it
is to abort, so it comes back only when the coordinator says that its transaction is committed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .transactions import Described, ProducerId

_PLACE = re.compile(r"-a(\d+)-s(\d+)-(\d+)")


def id_name(prefix: str, attempt: int, subtask: int, slot: int) -> str:
    """A transactional id. The attempt is part of it: an older attempt can then never disturb a newer one by mistake."""
    return f"{prefix}-a{attempt}-s{subtask}-{slot}"


def attempt_of(transactional_id: str, prefix: str) -> int | None:
    """The attempt that an id of this prefix belongs to; None for ids of others."""
    if not transactional_id.startswith(prefix):
        return None
    match = _PLACE.fullmatch(transactional_id[len(prefix) :])
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class Slot:
    """A transactional id in the hands of a writer.

    Attributes:
        number: its place among the writer's ids.
        producer: what the next or the prepared transaction is written with.
        checkpoint: at whose barrier its transaction was prepared; None before.
        began: the loop's time at which that transaction began.
    """

    number: int
    transactional_id: str
    producer: ProducerId
    checkpoint: int | None = None
    began: float = 0.0


@dataclass(slots=True)
class Slots:
    """The ids of one writer. Pure: what to do, not how.

    Attributes:
        prepared: those that wait for their commit, the oldest first.
    """

    prefix: str
    attempt: int
    subtask: int
    prepared: list[Slot] = field(default_factory=list)
    _free: list[Slot] = field(default_factory=list)
    _made: int = 0

    def new(self) -> tuple[int, str]:
        """Number and name of an id that this writer has never used."""
        self._made += 1
        return self._made - 1, id_name(self.prefix, self.attempt, self.subtask, self._made - 1)

    def prepare(self, slot: Slot, checkpoint_id: int, began: float) -> Slot:
        """The slot's transaction is prepared now."""
        prepared = replace(slot, checkpoint=checkpoint_id, began=began)
        self.prepared.append(prepared)
        return prepared

    def settle(self, described: dict[str, Described], asked: Iterable[Slot]) -> list[Slot]:
        """Learn how prepared transactions stand. Returns those that are gone without being known as committed: the broker
        ended them, or a newer attempt did after committing them. They are never used again."""
        lost = []
        for slot in asked:
            found = described.get(slot.transactional_id)
            ours = found is not None and found.producer == slot.producer
            if ours and found is not None and found.state == "CompleteCommit":
                self.prepared.remove(slot)
                self._free.append(slot)
            elif not ours or (found is not None and "Abort" in found.state):
                self.prepared.remove(slot)
                lost.append(slot)
        return lost

    def reuse(self) -> Slot | None:
        """A slot whose transaction is committed; None when there is none and a new one is needed."""
        return self._free.pop(0) if self._free else None
