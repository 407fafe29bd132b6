"""What a window table has still to delete from its database."""

from __future__ import annotations

from collections.abc import Iterable


class WindowDeletions:
    """Keys, and whole namespaces, that are void in the database.

    Attributes:
        removed: namespace → keys to delete.
        dropped: namespaces to delete: their keys, or None for all.
    """

    def __init__(self) -> None:
        self.removed: dict[int, set[object]] = {}
        self.dropped: dict[int, list[object] | None] = {}

    def __len__(self) -> int:
        return len(self.removed) + len(self.dropped)

    def __contains__(self, namespace: int) -> bool:
        """Whether something of a namespace is void."""
        return namespace in self.dropped or namespace in self.removed

    def remove(self, namespace: int, key: object) -> None:
        """One key is void."""
        self.removed.setdefault(namespace, set()).add(key)

    def drop(self, namespace: int, keys: list[object] | None) -> None:
        """All of a namespace is void: these keys, or None where they are not known or too many."""
        self.dropped[namespace] = keys

    def has_removed(self, namespace: int, key: object) -> bool:
        """Whether a key is void."""
        return key in self.removed.get(namespace, ())

    @property
    def namespaces(self) -> Iterable[int]:
        """Those of which something is void."""
        return dict.fromkeys((*self.dropped, *self.removed))

    def forget(self, namespace: int) -> None:
        """Nothing of it is to be deleted any more."""
        self.dropped.pop(namespace, None)
        self.removed.pop(namespace, None)

    def portion(self, limit: int, key_groups: int) -> tuple[WindowDeletions, int]:
        """Take about `limit` of them out, whole namespaces first; with how many that are. One of which all is void costs
        one for each key group."""
        taken, count = WindowDeletions(), 0
        while self.dropped and count < limit:
            namespace, keys = self.dropped.popitem()
            taken.dropped[namespace] = keys
            count += key_groups if keys is None else len(keys) or 1
        while self.removed and count < limit:
            namespace, removed = self.removed.popitem()
            taken.removed[namespace] = removed
            count += len(removed) or 1
        return taken, count

    def take_back(self, earlier: WindowDeletions) -> None:
        """What was to be deleted before has not been."""
        for namespace, keys in earlier.dropped.items():
            before = self.dropped.get(namespace, [])
            self.dropped[namespace] = None if keys is None or before is None else [*before, *keys]
        for namespace, voided in earlier.removed.items():
            self.removed.setdefault(namespace, set()).update(voided)
