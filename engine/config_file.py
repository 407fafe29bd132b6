"""Where settings come from: `tidegate.toml` < environment < flags.

    [run]
    checkpoints = "state/"
    checkpoint_interval = "10s"
    restart = { strategy = "fixed_delay", attempts = 3, delay = "5s" }

    [profile.production.run]
    checkpoints = "s3://${BUCKET}/state"

`${NAME}` in a text stands for an environment variable, `${NAME:-text}` gives what holds when it is not set,
and `$${` is a plain `${`. A profile's settings win over those of `[run]`. A key that means nothing is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from ..operators.time import timestamp_ms
from .config import SETTINGS, RunConfig, check_setting
from .errors import ConfigError
from .restart import parse_restart

PREFIX: Final = "TIDEGATE_"
"""An environment variable `TIDEGATE_CHECKPOINT_INTERVAL` gives the setting `checkpoint_interval`."""

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<otherwise>[^}]*))?\}")
_WHOLE: Final = frozenset(
    (
        "retain",
        "parallelism",
        "max_parallelism",
        "channel_capacity",
        "metrics_port",
        "max_batch",
        "commit_retry_limit",
        "stop_after_records",
        "checkpoint_failure_limit",
        "upload_concurrency",
    )
)


def load_config(
    path: str | Path | None = None,
    profile: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    assumed: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The settings of a run, put together from a file, the environment and flags; later ones win.

    Args:
        path: the TOML file; None for none.
        profile: take `[profile.NAME.run]` of the file on top of its `[run]`.
        environ: the environment; None for an empty one. Nothing is read from the process's own.
        flags: setting → value, as a text or as `RunConfig` takes it. A text `"none"` means None where that
            is a value.
        assumed: settings that hold where nobody says otherwise, instead of `RunConfig`'s own.

    Raises:
        ConfigError: a file that cannot be read, an unknown key or profile, a value that does not fit; names
            where it stands.
    """
    environ = environ or {}
    settings: dict[str, Any] = dict(assumed or {})
    if path is not None:
        settings |= _from_file(Path(path), profile, environ)
    elif profile is not None:
        raise ConfigError(f"profile {profile!r} needs a configuration file: there is no tidegate.toml here")
    settings |= _from_environment(environ)
    for name, value in (flags or {}).items():
        if name not in SETTINGS:
            raise ConfigError(f"flag: unknown setting {name!r}{_instead(name, SETTINGS)}")
        settings[name] = _setting(name, value, "flag")
    return RunConfig(**settings)


def parse_moment(text: str) -> int:
    """An event time in milliseconds since 1970 UTC, from a number of them or an ISO 8601 date or time.

    Raises:
        ValueError: it is neither.

    >>> parse_moment("2013-01-01T00:00:00Z"), parse_moment("1356998400000")
    (1356998400000, 1356998400000)
    """
    if re.fullmatch(r"-?\d{5,}", text):
        return int(text)
    try:
        return timestamp_ms(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(f'{text!r} is not a time: write "2013-01-01T12:00:00Z" or milliseconds since 1970') from None


def _from_file(path: Path, profile: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    _refuse_unknown(path, "", document, ("run", "profile"))
    profiles = _table(path, document, "profile", "profile")
    tables = [("run", _table(path, document, "run", "run"))]
    for name in profiles:
        chosen = _table(path, profiles, name, f"profile.{name}")
        _refuse_unknown(path, f"profile.{name}", chosen, ("run",))
        where = f"profile.{name}.run"
        table = _table(path, chosen, "run", where)
        _refuse_unknown(path, where, table, SETTINGS)
        if name == profile:
            tables.append((where, table))
    if profile is not None and profile not in profiles:
        raise ConfigError(f"{path}: no profile {profile!r}{_instead(profile, profiles)}")
    settings: dict[str, Any] = {}
    for where, table in tables:
        _refuse_unknown(path, where, table, SETTINGS)
        for name, value in table.items():
            place = f"{path}: [{where}]"
            settings[name] = _setting(name, _resolved(value, environ, f"{place} {name}"), place)
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in SETTINGS:
            settings[name] = _setting(name, value, f"environment variable {variable}")
            continue
        # Others use the prefix too (a cluster names its services so): only what looks like a slip is refused.
        close = get_close_matches(name, SETTINGS, 1, 0.85)
        if close:
            meant = PREFIX + close[0].upper()
            raise ConfigError(f"environment variable {variable} sets nothing: did you mean {meant}?")
    return settings


def _setting(name: str, value: Any, place: str) -> Any:
    """The value of a setting as `RunConfig` takes it; errors say in which place it stands."""
    try:
        parse = _PARSERS.get(name)
        if isinstance(value, str) and value.lower() == "none" and name in _OPTIONAL:
            value = None
        elif parse is not None:
            value = parse(value)
        check_setting(name, value)
    except (ConfigError, ValueError) as error:
        message = str(error)
        raise ConfigError(f"{place}: {message if message.startswith(name) else f'{name}: {message}'}") from None
    return value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()) else value


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return frozenset(name.strip() for name in value.split(",") if name.strip())
    return frozenset(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


def _renames(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in value.split(","))):
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not (equals and old and new):
            raise ValueError(f"{pair!r}: write OLD=NEW, several with commas between")
        if old in found:
            raise ValueError(f"{old!r} is given two new names")
        found[old] = new
    return found


def _moment(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamp_ms(value)
    if isinstance(value, date):
        return timestamp_ms(datetime(value.year, value.month, value.day))
    return parse_moment(value) if isinstance(value, str) else value


def _yes_or_no(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _options(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError('write "endpoint=https://…,region=…"')  # without what was given: it may be a credential
    return {name.strip(): option.strip() for name, _, option in pairs}


def _restart(value: Any) -> Any:
    return parse_restart(value) if isinstance(value, str | dict) else value


_PARSERS: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(_WHOLE, _whole),
    "memory_budget": _whole,
    "upload_rate": _whole,
    "checkpoint_store": _options,
    "local_recovery": _yes_or_no,
    "restore": _whole,
    "allow_dropped": _names,
    "rename": _renames,
    "allow_repeats": _yes_or_no,
    "until_ms": _moment,
    "restart": _restart,
}
_OPTIONAL: Final = frozenset(
    (
        "checkpoints",
        "job",
        "state_dir",
        "restore",
        "restore_from",
        "metrics_port",
        "checkpoint_failure_limit",
        "commit_retry_limit",
        "stop_after_records",
        "until_ms",
        "upload_rate",
        "alignment_timeout",
    )
)


def _resolved(value: Any, environ: Mapping[str, str], place: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolved(item, environ, f"{place}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, environ, place) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "${"
        if name in environ:
            return environ[name]
        if match["otherwise"] is not None:
            return match["otherwise"]
        raise ConfigError(
            f"{place}: the environment variable {name} is not set; set it, or write ${{{name}:-otherwise}}"
        )

    return _REFERENCE.sub(replace, value)


def _table(path: Path, document: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {where} must be a table: write [{where}]")
    return table


def _refuse_unknown(path: Path, where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    known = list(known)
    for name in table:
        if name not in known:
            place = f"[{where}] {name}" if where else f"[{name}]"
            raise ConfigError(f"{path}: {place} means nothing{_instead(name, known)}")


def _instead(name: str, known: Iterable[str]) -> str:
    """What to write instead of an unknown name."""
    known = list(known)
    close = get_close_matches(name, known, 1)
    if close:
        return f": did you mean {close[0]!r}?"
    return f": use one of {', '.join(known)}" if known else ": there are none"
