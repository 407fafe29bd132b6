"""Records as entries that can be sorted and compared: a key and a text, both bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from ..errors import ConfigError

Entry = tuple[bytes, bytes, int]
"""(key, record as canonical JSON, number in order of arrival). A record that is its own key has an empty text."""

WINDOW_KEY: Final = ("key", "start_ms", "end_ms")
"""What tells the results of windows apart."""

_SHOWN: Final = 200
_encode = msgspec.json.Encoder(enc_hook=repr, order="sorted").encode
_decode = msgspec.json.Decoder().decode


class EntryMaker:
    """Turns records into entries.

    Args:
        sink: whose records; for messages.
        key: the fields that tell records apart. None: those of a windowed result where a record has them, else the whole
            record.
    """

    def __init__(self, sink: str, key: Sequence[str] | None) -> None:
        self._sink = sink
        self._key = None if key is None else tuple(key)
        self.count = 0

    def entries(self, values: Iterable[Any]) -> list[Entry]:
        """The entries of some records, numbered on from those before.

        Raises:
            ConfigError: a record lacks a field of the key.
        """
        found: list[Entry] = []
        number, chosen = self.count, self._key
        for value in values:
            text = _encode(value)
            if chosen is not None:
                found.append((self._chosen(chosen, text), text, number))
            elif b'"start_ms":' in text and (key := _window_key(text)) is not None:
                found.append((key, text, number))
            else:
                found.append((text, b"", number))
            number += 1
        self.count = number
        return found

    def _chosen(self, key: Sequence[str], text: bytes) -> bytes:
        record = _decode(text)
        try:
            return _encode([record[field] for field in key])
        except (KeyError, TypeError):
            fields = record if isinstance(record, dict) else {}
            missing = next((field for field in key if field not in fields), key[0])
            shown = text[:_SHOWN].decode("utf-8", "replace")
            raise ConfigError(
                f"sink {self._sink!r}: a record has no field {missing!r}, so it has no key: {shown}; name fields that all "
                "records have, or leave the key out"
            ) from None


def _window_key(text: bytes) -> bytes | None:
    record = _decode(text)
    if not isinstance(record, dict) or not all(field in record for field in WINDOW_KEY):
        return None
    return _encode([record[field] for field in WINDOW_KEY])


def record_of(key: bytes, text: bytes) -> Any:
    """The record of an entry, as builtins."""
    return _decode(text or key)


def alike(old: Any, new: Any, tolerance: float) -> bool:
    """Whether two records, as builtins, are equal; numbers by as much as `tolerance` apart are, relative to the larger one
    where that is above 1."""
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, int | float) and isinstance(new, int | float):
        return old == new or abs(old - new) <= tolerance * max(1.0, abs(old), abs(new))
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(alike(value, new[name], tolerance) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(alike(a, b, tolerance) for a, b in zip(old, new, strict=True))
    return bool(old == new)
