"""Structured log lines, and the stream of events for machines.

Everything is logged under `tidegate`. A program that embeds a job sees it through its own handlers; `run` and
the CLI set up a handler with `configure_logging`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from .clock import Clock

LOGGER: Final = logging.getLogger("tidegate")

OnEvent = Callable[[str, dict[str, Any]], None]
"""Told about what happens to a job: a name such as `checkpoint_completed`, and facts."""

_WARNINGS: Final = frozenset(
    {
        "checkpoint_failed",
        "checkpoint_passed_over",
        "checkpoint_stays_aligned",
        "commit_retried",
        "job_restarting",
        "worker_restarting",
        "worker_given_up",
    }
)


class LogfmtFormatter(logging.Formatter):
    """One line per log record: `time=… level=info msg="checkpoint completed" checkpoint_id=3`."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={_logfmt(value)}" for name, value in _facts(self, record).items())


class JsonFormatter(logging.Formatter):
    """One JSON object per log record, with the names of `LogfmtFormatter`."""

    def format(self, record: logging.LogRecord) -> str:
        return _json(_facts(self, record))


def configure_logging(stream: TextIO, *, json: bool = False, level: int = logging.INFO) -> Callable[[], None]:
    """Write what is logged under `tidegate` to `stream`; gives what undoes it."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if json else LogfmtFormatter())
    before = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    LOGGER.propagate = False

    def undo() -> None:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before[0])
        LOGGER.propagate = before[1]

    return undo


def log(text: str, fields: Mapping[str, Any] | None = None, *, level: int = logging.INFO) -> None:
    """Log a sentence with facts."""
    LOGGER.log(level, text, extra={"fields": dict(fields or {})})


def logged_events(event: str, fields: Mapping[str, Any]) -> None:
    """An `OnEvent` that logs: `checkpoint_completed` becomes the line "checkpoint completed". Failures are
    warnings.
    """
    log(event.replace("_", " "), fields, level=logging.WARNING if event in _WARNINGS else logging.INFO)


def json_events(stream: TextIO, clock: Clock) -> OnEvent:
    """An `OnEvent` that writes one JSON object per line, `{"event": "checkpoint_completed", "at_ms": …, …}`,
    and flushes. Once nobody reads the stream any more it writes nothing: the job does not end for that."""
    gone = False

    def write(event: str, fields: dict[str, Any]) -> None:
        nonlocal gone
        if gone:
            return
        try:
            stream.write(_json({"event": event, "at_ms": clock.now_ms(), **fields}) + "\n")
            stream.flush()
        except BrokenPipeError:
            gone = True

    return write


def _facts(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    facts = {"time": at.replace("+00:00", "Z"), "level": record.levelname.lower(), "msg": record.getMessage()}
    facts.update(getattr(record, "fields", {}))
    if record.exc_info:
        facts["error"] = formatter.formatException(record.exc_info)
    return facts


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, default=str, ensure_ascii=False, separators=(",", ":"))


def _logfmt(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else "null" if value is None else _json(value)
    plain = text and not any(c in ' ="\\' or not c.isprintable() for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
