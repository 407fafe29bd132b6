"""What the command line prints, and the exit codes.

0    done
1    the job failed, something that was checked is damaged, or a comparison found a difference
2    a bad argument, configuration or topology; nothing was started
3    fenced: another process runs this job
4    the object store that holds the checkpoints does not answer; nothing was started, and another try may help
130  cancelled by a second SIGINT (143: SIGTERM)
"""

from __future__ import annotations

import enum
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

from ..errors import (
    CheckpointError,
    ConfigError,
    CorruptionError,
    FencedError,
    StateTypeError,
    StoreUnavailableError,
    TidegateError,
    TopologyError,
)


class ExitCode(enum.IntEnum):
    """The exit codes of every command; a cancelled run ends with 128 plus the number of the signal."""

    OK = 0
    FAILED = 1
    USAGE = 2
    FENCED = 3
    UNAVAILABLE = 4


class UsageError(ConfigError):
    """An argument of the command line is wrong."""


_PACKAGE: Final = __name__.split(".", maxsplit=1)[0] + "."
_LIBRARIES: Final = sys.stdlib_module_names | {"obstore", "rocksdict"}
"""What we call ourselves: their frames alone do not make an error the user's."""
_REFUSED: Final = (TopologyError, ConfigError, StateTypeError)


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code that a command ends with for an error."""
    if isinstance(error, FencedError):
        return ExitCode.FENCED
    if isinstance(error, StoreUnavailableError):
        return ExitCode.UNAVAILABLE
    if isinstance(error, _REFUSED):
        return ExitCode.USAGE
    if isinstance(error, CheckpointError) and not isinstance(error, CorruptionError):
        return ExitCode.USAGE
    return ExitCode.FAILED


def report(error: BaseException) -> ExitCode:
    """Print an error to stderr as the user should see it, and give the exit code.

    An error of the user's code comes with its traceback, cut to the frames that are not ours. An error that
    is a defect of ours comes with all of it.
    """
    if isinstance(error, TidegateError):
        print(f"tidegate: {error}", file=sys.stderr)
        theirs = user_traceback(error)
        if theirs:
            print(theirs, end="", file=sys.stderr)
    elif _is_connector_error(error):
        print(f"tidegate: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    return exit_code_of(error)


def user_traceback(error: BaseException) -> str:
    """The traceback of the user's exception behind an error, cut to the frames outside of this package; empty
    when no user code was running."""
    cause = error.__cause__
    while cause is not None and isinstance(cause, TidegateError):
        cause = cause.__cause__
    if cause is None or all(_module_of(frame) in _LIBRARIES for frame, _ in _user_frames(cause.__traceback__)):
        return ""
    return "".join(_formatted(cause, set()))


def _formatted(error: BaseException, seen: set[int]) -> Iterator[str]:
    """As `traceback.format_exception`, without our frames."""
    seen.add(id(error))
    before = error.__cause__
    link = "\nThe above exception was the direct cause of the following exception:\n\n"
    if before is None and not error.__suppress_context__:
        before = error.__context__
        link = "\nDuring handling of the above exception, another exception occurred:\n\n"
    if before is not None and id(before) not in seen:
        yield from _formatted(before, seen)
        yield link
    frames = traceback.StackSummary.extract(_user_frames(error.__traceback__))
    if frames:
        yield "Traceback (most recent call last):\n"
        yield from frames.format()
    yield from traceback.format_exception_only(error)


def _user_frames(found: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    # Generated inner loops have no module of their own: their frames are ours too.
    for frame, line in traceback.walk_tb(found):
        module = frame.f_globals.get("__name__")
        if isinstance(module, str) and module != "builtins" and not module.startswith(_PACKAGE):
            yield frame, line


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).split(".", maxsplit=1)[0]


def _is_connector_error(error: BaseException) -> bool:
    from ...connectors.source import ConnectorError

    return isinstance(error, ConnectorError)


def where_raised(error: BaseException, file: Path | None = None) -> str:
    """File and line of the last frame outside of this package: `app.py line 12`; the frames of `file` come
    first.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name} line {error.lineno}"
    frames = [(frame.f_code.co_filename, line) for frame, line in _user_frames(error.__traceback__)]
    frames = [f for f in frames if not f[0].startswith("<")]
    own = [f for f in frames if file is not None and Path(f[0]).resolve() == file.resolve()]
    chosen = own or frames
    return f"{Path(chosen[-1][0]).name} line {chosen[-1][1]}" if chosen else "unknown place"


def print_json(value: Any) -> None:
    """Print a value as JSON to stdout."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))
