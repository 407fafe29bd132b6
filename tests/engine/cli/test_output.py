"""Errors as the user sees them, and exit codes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tidegate.connectors.source import SourceError
from tidegate.engine.cli.output import ExitCode, UsageError, exit_code_of, report, user_traceback
from tidegate.engine.errors import (
    CheckpointError,
    ConfigError,
    CorruptionError,
    FencedError,
    JobError,
    OperatorError,
    StateError,
    StateTypeError,
    StoreUnavailableError,
    TidegateError,
    TopologyError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (JobError("x"), 1),
        (SourceError("x"), 1),
        (CorruptionError(3, "f", "x"), 1),
        (ValueError("x"), 1),
        (UsageError("x"), 2),
        (ConfigError("x"), 2),
        (TopologyError("x"), 2),
        (StateTypeError("x"), 2),
        (CheckpointError("x"), 2),
        (FencedError("x"), 3),
        (StoreUnavailableError("x"), 4),
    ],
)
def test_every_error_has_its_exit_code(error: Exception, code: int) -> None:
    """As documented."""
    assert exit_code_of(error) is ExitCode(code)


def failed_operator() -> OperatorError:
    """An operator's error as the engine raises it: the user's function raised under one of ours."""
    from tidegate.operators.batch import Origin

    def lookup(index: int) -> int:
        return {}[index]

    try:
        try:
            Origin("f", None).selected(lookup).locate(3)
        except KeyError as error:
            raise OperatorError("enrich", error, "f", 17) from error
    except OperatorError as error:
        return error
    raise AssertionError


def test_a_user_s_error_comes_with_the_user_s_frames_only(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names operator and record, then where in the user's code."""
    assert report(failed_operator()) is ExitCode.FAILED
    shown = capsys.readouterr().err
    assert shown.startswith("tidegate: operator 'enrich' failed on the record at 17 of split f: KeyError: 3\n")
    assert "return {}[index]" in shown
    assert "batch.py" not in shown
    assert shown.endswith("KeyError: 3\n")


def test_an_error_without_user_code_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to trace."""
    report(FencedError("the job is in use by process 12"))
    report(SourceError("flights.jsonl: no such file"))
    expected = "tidegate: the job is in use by process 12\ntidegate: flights.jsonl: no such file\n"
    assert capsys.readouterr().err == expected
    assert user_traceback(FencedError("x")) == ""


def test_a_defect_of_ours_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """So that it can be reported."""
    with pytest.raises(RuntimeError) as raised:
        raise RuntimeError("unexpected")
    assert report(raised.value) is ExitCode.FAILED
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [CheckpointError, StateError])
def test_what_the_disk_refuses_is_one_line(kind: type[TidegateError], capsys: pytest.CaptureFixture[str]) -> None:
    """Also when it was asked in a thread: frames of the standard library are not the user's."""
    with ThreadPoolExecutor(1) as pool:
        cause = pool.submit(Path("nowhere").read_bytes).exception()
    error = kind("cannot restore into state: the disk is full")
    error.__cause__ = cause
    assert report(error) is not ExitCode.OK
    assert capsys.readouterr().err == "tidegate: cannot restore into state: the disk is full\n"


def test_where_a_library_raised_is_shown_behind_the_user_s_call(capsys: pytest.CaptureFixture[str]) -> None:
    """What it was given, the user's code gave it."""
    try:
        try:
            json.loads("{")
        except ValueError as error:
            raise OperatorError("parse", error) from error
    except OperatorError as error:
        report(error)
    shown = capsys.readouterr().err
    assert 'json.loads("{")' in shown
    assert "decoder.py" in shown
