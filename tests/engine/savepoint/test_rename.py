"""Names in a checkpoint as the topology has them now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tidegate.engine.checkpoint.manifest import InFlightEdge, InFlightEntry
from tidegate.engine.savepoint.rename import renamed
from tidegate.engine.state.backend import StateSchema

TOTAL = StateSchema("total", "keyed", 1, ("int",))


@pytest.fixture
def manifest(manifest_of: Callable[..., Any], entry_of: Callable[..., Any]) -> Any:
    """A checkpoint with an operator, a source and a sink."""
    return manifest_of({"count": entry_of("count", TOTAL)}, ["flights"], ["delays"])


def test_without_renames_nothing_changes(manifest: Any) -> None:
    """The same manifest comes back."""
    found, done, problems = renamed(manifest, {}, "new", ["count"], ["count"])
    assert (found is manifest, done, problems) == (True, {}, [])


def test_a_rename_gives_everything_under_the_old_name_to_the_new_one(manifest: Any) -> None:
    """What has no new name keeps its own."""
    found, done, problems = renamed(manifest, {"count": "tally"}, "new", ["tally", "flights"], ["tally", "flights"])
    assert (done, problems) == ({"tally": "count"}, [])
    assert set(found.operators) == {"tally"}
    assert set(found.sources) == {"flights"}
    assert set(found.committables) == {"delays"}


def test_a_checkpoint_of_this_very_topology_is_taken_as_it_is(manifest: Any) -> None:
    """So a rename that stays in the settings does no harm at a restart, even where the old name is in use again."""
    found, done, problems = renamed(manifest, {"count": "tally"}, "abc", ["tally", "count"], ["tally", "count"])
    assert (found is manifest, done, problems) == (True, {}, [])


def test_a_rename_that_was_done_before_is_passed_by(
    manifest_of: Callable[..., Any], entry_of: Callable[..., Any]
) -> None:
    """The checkpoint has the new name already."""
    manifest = manifest_of({"tally": entry_of("tally", TOTAL)})
    assert renamed(manifest, {"count": "tally"}, "new", ["tally"], ["tally"])[1:] == ({}, [])


def test_a_new_name_that_the_topology_does_not_have_is_refused(manifest: Any) -> None:
    """The message names those it has."""
    (problem,) = renamed(manifest, {"count": "tlly"}, "new", ["tally", "flights"], ["tally"])[2]
    assert problem == "rename 'count' to 'tlly': the topology has no 'tlly'; it has flights, tally"


def test_an_old_name_that_the_checkpoint_does_not_have_is_refused(manifest: Any) -> None:
    """The message names those it has."""
    (problem,) = renamed(manifest, {"cuont": "tally"}, "new", ["tally"], ["tally"])[2]
    assert problem == "rename 'cuont' to 'tally': checkpoint 7 holds no 'cuont'; it holds count, delays, flights"


def test_what_a_checkpoint_need_not_hold_may_be_renamed_all_the_same(manifest: Any) -> None:
    """A sink without output that waits, an operator without state."""
    assert renamed(manifest, {"unknown": "out"}, "new", ["out"], [])[1:] == ({"out": "unknown"}, [])


def test_two_that_would_become_one_are_refused(manifest_of: Callable[..., Any], entry_of: Callable[..., Any]) -> None:
    """The checkpoint has both names."""
    manifest = manifest_of({"count": entry_of("count", TOTAL), "tally": entry_of("tally", TOTAL)})
    (problem,) = renamed(manifest, {"count": "tally"}, "new", ["tally"], ["tally"])[2]
    assert "checkpoint 7 holds both" in problem


def test_both_ends_of_what_is_in_flight_are_renamed(manifest):
    """Also those that keep nothing else in the checkpoint."""
    edges = (InFlightEdge("by-key", None, 0, "hash", 2), InFlightEdge("flights", "late", 0, "hash", 2))
    on_the_way = msgspec.structs.replace(manifest, in_flight={"count": InFlightEntry(2, edges)})
    names = ["tally", "keyed", "flights"]
    found, done, problems = renamed(on_the_way, {"count": "tally", "by-key": "keyed"}, "new", names, ["tally"])
    assert problems == []
    assert done == {"tally": "count", "keyed": "by-key"}
    assert [(edge.upstream, edge.tag) for edge in found.in_flight["tally"].edges] == [
        ("keyed", None),
        ("flights", "late"),
    ]
