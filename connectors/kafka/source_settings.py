"""What a source was told, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from ..formats.format import Format
from .connection import Connection

T = TypeVar("T")

Isolation = Literal["read_committed", "read_uncommitted"]
OnMissingOffset = Literal["fail", "skip"]
Tombstones = Literal["skip", "reject"]

_CHOICES: Final = {
    "isolation": ("read_committed", "read_uncommitted"),
    "on_missing_offset": ("fail", "skip"),
    "tombstones": ("skip", "reject"),
}


@dataclass(frozen=True)
class SourceSettings(Generic[T]):
    """The settings that a reader needs; see `source`.

    Raises:
        ValueError: one of them is wrong; names it.
    """

    connection: Connection
    format: Format[T]
    group: str | None
    isolation: Isolation
    messages: bool
    on_missing_offset: OnMissingOffset
    tombstones: Tombstones
    stop_at_end: bool

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value: Any = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name}={value!r}: {choices[0]!r} or {choices[1]!r}")
        if not hasattr(self.format, "decode_messages"):
            raise ValueError(f"format={self.format!r}: is no format of payloads, such as formats.json(...)")

    @property
    def committed_only(self) -> bool:
        """Whether records of open and aborted transactions are left out."""
        return self.isolation == "read_committed"
