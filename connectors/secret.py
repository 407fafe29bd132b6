"""Credentials by reference."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .source import ConnectorError


@dataclass(frozen=True)
class Secret:
    """A reference to a credential: `env:NAME` or `file:/path`. The credential itself is never held and never
    printed.

    Raises:
        ValueError: `reference` is neither. The message does not repeat it: it may be the credential itself.
    """

    reference: str

    def __post_init__(self) -> None:
        kind, _, where = self.reference.partition(":")
        if kind not in ("env", "file") or not where:
            raise ValueError('a credential is given by reference: write "env:NAME" or "file:/path"')

    def reveal(self, environ: Mapping[str, str] | None = None) -> str:
        """The credential. Read anew each time, so that a rotated file is seen; one final line break is cut
        off.

        Args:
            environ: where variables are looked up; the process's environment when left out.

        Raises:
            ConnectorError: the variable is not set, or the file cannot be read; names it.
        """
        kind, _, where = self.reference.partition(":")
        if kind == "env":
            found = (os.environ if environ is None else environ).get(where)
            if found is None:
                raise ConnectorError(
                    f"credential {self.reference}: the environment variable {where} is not set", retriable=False
                )
            return found
        try:
            return Path(where).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConnectorError(f"credential {self.reference}: cannot be read: {reason}", retriable=False) from None
