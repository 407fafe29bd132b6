"""Log lines and events."""

import json
import logging
from io import StringIO

import pytest
from tidegate.engine.logs import configure_logging, json_events, log, logged_events
from tidegate.engine.testing.clock import ManualClock


def test_a_log_line_has_names_and_values() -> None:
    """Values with blanks or quotes are quoted, so that a line can be cut apart again."""
    stream = StringIO()
    undo = configure_logging(stream)
    log("progress", {"job": "flights", "why": 'a "b"', "rate": 1234567.891, "none": None, "empty": ""})
    undo()
    line = stream.getvalue().strip()
    assert line.startswith("time=2")
    assert line.endswith(r'Z level=info msg=progress job=flights why="a \"b\"" rate=1.23457e+06 none=null empty=""')


def test_a_log_line_can_be_json() -> None:
    """With the same names."""
    stream = StringIO()
    undo = configure_logging(stream, json=True)
    logged_events("checkpoint_failed", {"reason": "disk full\nreally"})
    undo()
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["level"], found["msg"], found["reason"]) == (
        "warning",
        "checkpoint failed",
        "disk full\nreally",
    )


def test_setting_up_logging_can_be_undone() -> None:
    """Nothing of it stays in the process."""
    logger = logging.getLogger("tidegate")
    before = (list(logger.handlers), logger.level, logger.propagate)
    configure_logging(StringIO())()
    assert (list(logger.handlers), logger.level, logger.propagate) == before


def test_an_event_is_one_json_object_per_line() -> None:
    """With the engine's time."""
    stream, clock = StringIO(), ManualClock(5_000)
    json_events(stream, clock)("checkpoint_completed", {"checkpoint_id": 3, "text": "ä\n"})
    assert stream.getvalue() == '{"event":"checkpoint_completed","at_ms":5000,"checkpoint_id":3,"text":"ä\\n"}\n'


def test_a_reader_that_goes_away_does_not_end_the_job() -> None:
    """`tidegate run --json | head` stops printing, not running."""

    class Broken(StringIO):
        calls = 0

        def write(self, text: str) -> int:
            self.calls += 1
            raise BrokenPipeError

    stream = Broken()
    write = json_events(stream, ManualClock())
    write("a", {})
    write("b", {})
    assert stream.calls == 1


@pytest.mark.parametrize(("event", "level"), [("job_running", "INFO"), ("job_restarting", "WARNING")])
def test_trouble_is_a_warning(event: str, level: str, caplog: pytest.LogCaptureFixture) -> None:
    """So that it can be filtered for."""
    with caplog.at_level(logging.INFO, "tidegate"):
        logged_events(event, {})
    assert caplog.records[0].levelname == level
