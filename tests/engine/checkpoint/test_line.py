"""Which checkpoints lead to the newest start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.checkpoint.line import Start, why_left
from tidegate.engine.checkpoint.manifest import Manifest


def manifest(checkpoint_id: int, attempt: int) -> Manifest:
    return Manifest(
        job="job",
        topology="flights",
        topology_version="1",
        fingerprint="",
        checkpoint_id=checkpoint_id,
        attempt=attempt,
        triggered_at_ms=0,
        completed_at_ms=0,
        max_parallelism=128,
    )


def test_without_starts_nothing_was_left() -> None:
    """As it is with what an older version has written."""
    assert why_left(manifest(7, 3), {}) is None


def test_what_stands_behind_the_beginning_of_a_newer_start_was_left() -> None:
    """Whether a person went back on purpose, or an old process came back."""
    starts = {1: Start(0, 0), 2: Start(5, 1)}
    assert why_left(manifest(5, 1), starts) is None
    assert why_left(manifest(6, 1), starts) == "attempt 2 began from checkpoint 5, and attempt 1 wrote this one"
    assert why_left(manifest(7, 2), starts) is None


def test_a_start_from_nothing_leaves_all_that_was_there() -> None:
    """What it writes itself holds."""
    starts = {1: Start(0, 0), 2: Start(0, 0)}
    assert why_left(manifest(6, 1), starts) == "attempt 2 began from nothing, and attempt 1 wrote this one"
    assert why_left(manifest(7, 2), starts) is None


def test_a_start_that_has_decided_nothing_leaves_nothing() -> None:
    """It may have died before it looked."""
    assert why_left(manifest(6, 1), {1: Start(0, 0)}) is None
    assert why_left(manifest(7, 2), {1: Start(0, 0)}) is None


def test_what_was_left_comes_back_when_a_start_begins_from_it() -> None:
    """Attempt 2 went back to 5, attempt 3 to what attempt 1 had written after that."""
    starts = {1: Start(0, 0), 2: Start(5, 1), 3: Start(6, 1)}
    assert why_left(manifest(6, 1), starts) is None
    assert why_left(manifest(7, 2), starts) == "attempt 3 began from checkpoint 6, and attempt 2 wrote this one"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=12))
def test_what_leads_to_the_newest_start_is_what_it_and_its_beginnings_wrote(steps: list[tuple[int, int]]) -> None:
    """Any history of starts and checkpoints, against one that follows the line backwards."""
    starts: dict[int, Start] = {}
    written: list[tuple[int, int]] = []
    line: list[tuple[int, int]] = []
    lines: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for kind, which in steps:
        if kind == 0 or not starts:
            began = written[which % len(written)] if written and which % 4 else (0, 0)
            starts[len(starts) + 1] = Start(*began)
            line = [*lines[began]] if began in lines else []
        else:
            made = (len(written) + 1, len(starts))
            written.append(made)
            line = [*line, made]
            lines[made] = line
    assert [made for made in written if why_left(manifest(*made), starts) is None] == (line if starts else written)
