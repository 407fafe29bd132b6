"""Credentials by reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError


@dataclass(frozen=True)
class Secret:
    """A reference to a credential: `env:NAME` or `file:/path`. The credential itself is never held and never
    printed.

    Raises:
        ConfigError: `reference` is neither. The message does not repeat it: it may be the credential itself.
    """

    reference: str

    def __post_init__(self) -> None:
        kind, _, where = self.reference.partition(":")
        if kind not in ("env", "file") or not where:
            raise ConfigError('a credential is given by reference: write "env:NAME" or "file:/path"')

    def reveal(self, environ: Mapping[str, str]) -> str:
        """The credential. Read anew each time, so that a rotated file is seen; one final line break is cut
        off.

        Raises:
            ConfigError: the variable is not set, or the file cannot be read; names it.
        """
        kind, _, where = self.reference.partition(":")
        if kind == "env":
            if where not in environ:
                raise ConfigError(f"credential {self.reference}: the environment variable {where} is not set")
            return environ[where]
        try:
            return Path(where).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigError(f"credential {self.reference}: cannot be read: {reason}") from None
