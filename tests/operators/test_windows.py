"""Assigners and triggers as the user writes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tidegate.operators import windows


def test_durations_become_milliseconds() -> None:
    """Strings and timedeltas alike."""
    assert windows.tumbling("1h", offset="5m") == windows.TimeWindows(3_600_000, 3_600_000, 300_000)
    assert windows.sliding(timedelta(minutes=1), "15s") == windows.TimeWindows(60_000, 15_000)
    assert windows.session("10m") == windows.SessionWindows(600_000)


def test_panes_are_as_long_as_the_greatest_common_divisor() -> None:
    """Every window is made of whole panes."""
    assert windows.sliding("1h", "7m").pane_ms == 60_000
    assert windows.sliding("1h", "15m").pane_ms == 900_000
    assert windows.tumbling("1h").pane_ms == 3_600_000


def test_assigners_say_what_they_are() -> None:
    """As a plan shows them."""
    assigners = [
        windows.tumbling("1h"),
        windows.sliding("1h", "15m"),
        windows.session("90s"),
        windows.global_(),
        windows.count(3),
    ]
    assert [str(a) for a in assigners] == [
        "tumbling(1h)",
        "sliding(1h every 15m)",
        "session(90s)",
        "global",
        "count(3)",
    ]


def test_triggers_hold_what_was_asked_for() -> None:
    """The usual trigger is the watermark; early ones fire in the end too, counting ones do not."""
    assert windows.on_watermark() == windows.Trigger()
    assert windows.early(every="10s") == windows.Trigger(every_ms=10_000)
    assert windows.early(every_count=5, purging=True) == windows.Trigger(every_count=5, purging=True)
    assert windows.on_count(5) == windows.Trigger(final=False, every_count=5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: windows.tumbling("0ms"), "longer than 0ms"),
        (lambda: windows.tumbling("1h", offset="1h"), "less than 1h"),
        (lambda: windows.sliding("1h", "2h"), "gaps"),
        (lambda: windows.session("0s"), "longer than 0ms"),
        (lambda: windows.count(0), "at least 1"),
        (windows.early, "either a duration"),
        (lambda: windows.early(every="1s", every_count=1), "either a duration"),
        (lambda: windows.early(every="0s"), "longer than 0ms"),
        (lambda: windows.on_count(0), "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Any], words: str) -> None:
    """When the topology is written, with what is wrong."""
    with pytest.raises(ValueError, match=words):
        make()
