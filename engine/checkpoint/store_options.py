"""How an object store is spoken to: options, limits, and credentials by reference."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError

_REFERENCE: Final = re.compile(r"(env|file):(.+)", re.DOTALL)
_CREDENTIAL: Final = re.compile(r"secret|password|credential|_key(_base64)?$|(^|_)(sas|token)($|_key)")
_NO_CREDENTIAL: Final = re.compile(r"_(file|path|relative_uri|full_uri)$")


@dataclass(frozen=True)
class StoreSettings:
    """How an object store is spoken to.

    Attributes:
        options: obstore's options of that kind of store (`endpoint`, `region`…). Values may be references, `env:NAME` or
            `file:/path`, which are read when the store is opened; see `check_options`.
        request_timeout_s: for one request, its body included.
        patience_s: how long a request is tried again, with growing pauses, before its error is told.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    request_timeout_s: float = 30.0
    patience_s: float = 60.0


def check_options(options: Mapping[str, Any]) -> str | None:
    """What is wrong with options, without their values: one of them may be a credential. None when nothing is."""
    for name, value in options.items():
        if not isinstance(name, str) or not isinstance(value, str | bool | int | float):
            return f"{name} must be a text, a number, true or false"
        reference = isinstance(value, str) and _REFERENCE.fullmatch(value) is not None
        if _is_credential(name) and not reference:
            return f'{name} is a credential and is given by reference: write "env:NAME" or "file:/path"'
    return None


def _is_credential(name: str) -> bool:
    plain = name.lower()
    return _CREDENTIAL.search(plain) is not None and _NO_CREDENTIAL.search(plain) is None


def resolve_option(name: str, value: Any) -> Any:
    """The value of an option, a reference followed.

    Raises:
        ConfigError: the reference leads nowhere; names it.
    """
    reference = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if reference is None:
        return value
    kind, where = reference.groups()
    if kind == "env":
        if where not in os.environ:
            raise ConfigError(f"checkpoint_store: {name} = env:{where}: the environment variable {where} is not set")
        return os.environ[where]
    try:
        return Path(where).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"checkpoint_store: {name} = file:{where}: it cannot be read: {reason}") from None
