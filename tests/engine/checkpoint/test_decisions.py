"""What to decide about checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidegate.engine.checkpoint.decisions import (
    Deletions,
    Refuse,
    Restore,
    StartFresh,
    choose_restore,
    named_contents,
    next_trigger,
    what_to_delete,
)
from tidegate.engine.checkpoint.listing import CheckpointInfo
from tidegate.engine.checkpoint.manifest import FileEntry, Manifest, OperatorEntry, SubtaskState
from tidegate.engine.state.backend import StateSchema, StoreSnapshot

MakeManifest = Callable[..., Manifest]


def manifest_of(checkpoint_id: int, contents: str = "", name: str | None = None, **more: Any) -> Manifest:
    """A manifest that names one content per letter."""
    snapshot = StoreSnapshot("dict", "count", 0, (0, 128), (StateSchema("total", "keyed", 1, ("int",)),))
    state = SubtaskState(snapshot, tuple(FileEntry(letter, 1, letter * 64) for letter in contents))
    return Manifest(
        **{
            "job": "job",
            "topology": "flights",
            "topology_version": "1",
            "fingerprint": "abc",
            "checkpoint_id": checkpoint_id,
            "attempt": 1,
            "kind": "checkpoint" if name is None else "savepoint",
            "name": name,
            "triggered_at_ms": 0,
            "completed_at_ms": 0,
            "max_parallelism": 128,
            "operators": {"count": OperatorEntry("aggregate", 1, (state,))},
            **more,
        }
    )


def whole(checkpoint_id: int, contents: str = "", name: str | None = None, attempt: int = 1) -> CheckpointInfo:
    manifest = manifest_of(checkpoint_id, contents, name, attempt=attempt)
    return CheckpointInfo(checkpoint_id, manifest.kind, name, "path", manifest)


def damaged(checkpoint_id: int | None, name: str | None = None) -> CheckpointInfo:
    kind: Any = "checkpoint" if name is None else "savepoint"
    return CheckpointInfo(checkpoint_id, kind, name, f"path/{checkpoint_id}", None, "it was cut", damaged=True)


def newer(checkpoint_id: int) -> CheckpointInfo:
    return CheckpointInfo(checkpoint_id, "checkpoint", None, "path", None, "update Tidegate")


# When to open one


def test_the_first_checkpoint_is_due_at_once() -> None:
    """Without a start to count from."""
    assert next_trigger(5.0, interval=10) == 5.0


def test_a_checkpoint_is_due_one_interval_after_the_last() -> None:
    """Counted from opening to opening."""
    assert next_trigger(5.0, interval=10, last_triggered=3.0, last_ended=4.0) == 13.0


def test_a_pause_lies_between_the_end_of_one_and_the_next() -> None:
    """A checkpoint that took longer than the interval does not follow on its own heels."""
    assert next_trigger(20.0, interval=10, min_pause=5, last_triggered=3.0, last_ended=19.0) == 24.0


def test_no_checkpoint_is_opened_while_enough_are_open() -> None:
    """The answer is to ask again."""
    assert next_trigger(20.0, interval=10, last_triggered=3.0, in_flight=1) is None
    assert next_trigger(20.0, interval=10, last_triggered=3.0, in_flight=1, max_in_flight=2) == 13.0


# Which one to restore


def test_the_first_start_is_from_nothing() -> None:
    """Nothing is there and nothing ever was."""
    assert choose_restore([]) == StartFresh()


def test_the_newest_is_restored() -> None:
    """By id, whatever the order of the listing, savepoints among them."""
    assert choose_restore([whole(2), whole(9, name="deploy"), whole(1)]) == Restore(manifest_of(9, name="deploy"))


def test_a_damaged_newest_is_named_and_the_one_before_is_restored() -> None:
    """The damage is told, not hidden."""
    decision = choose_restore([whole(1), whole(2), damaged(3)])
    assert decision == Restore(manifest_of(2), ("checkpoint 3: path/3: it was cut",))


def test_damage_found_in_the_files_counts_like_damage_in_the_manifest() -> None:
    """The choice is asked for again with what was found."""
    decision = choose_restore([whole(1), whole(2)], problems_by_id={2: ["a.sst is missing", "b.sst is short"]})
    assert decision == Restore(manifest_of(1), ("checkpoint 2: a.sst is missing; b.sst is short",))


def test_a_damaged_savepoint_without_an_id_is_named() -> None:
    """It may have been the newest."""
    decision = choose_restore([whole(1), damaged(None, "deploy")])
    assert isinstance(decision, Restore)
    assert decision.passed_over == ("savepoint 'deploy': path/None: it was cut",)


def test_when_all_are_damaged_the_start_is_refused() -> None:
    """Never from nothing: every one is named, and how to start on purpose."""
    decision = choose_restore([damaged(1), whole(2)], problems_by_id={2: ["a.sst is missing"]})
    assert isinstance(decision, Refuse)
    assert "checkpoint 1: path/1: it was cut" in decision.reason
    assert "checkpoint 2: a.sst is missing" in decision.reason
    assert 'restore "none"' in decision.reason


def test_when_all_are_gone_the_start_is_refused() -> None:
    """An earlier start has seen a checkpoint, so this is no first start."""
    decision = choose_restore([], last_seen_id=57)
    assert isinstance(decision, Refuse)
    assert "checkpoint 57 was here at an earlier start" in decision.reason


def test_one_written_by_a_newer_version_is_not_passed_over() -> None:
    """It is whole: going back behind it would write its output twice."""
    decision = choose_restore([whole(1), newer(2)])
    assert decision == Refuse("checkpoint 2 cannot be read: path: update Tidegate")


def left_behind(info: CheckpointInfo) -> CheckpointInfo:
    return replace(info, left="attempt 2 began without it")


def test_one_that_a_later_start_has_left_is_passed_over() -> None:
    """The newest of those that lead on is taken, and the others are named."""
    decision = choose_restore([whole(8), whole(10), left_behind(whole(12))])
    assert isinstance(decision, Restore)
    assert decision.manifest.checkpoint_id == 10
    assert decision.passed_over == ("checkpoint 12: attempt 2 began without it",)


def test_a_start_from_nothing_that_has_left_the_others_is_one_again() -> None:
    """It had nothing of its own yet when it died: those that it left do not come back."""
    infos = [left_behind(whole(12))]
    assert choose_restore(infos, last_seen_id=12, began_from_nothing=True) == StartFresh()
    assert isinstance(choose_restore(infos, last_seen_id=12), Refuse)
    assert isinstance(choose_restore([], last_seen_id=12, began_from_nothing=True), Refuse)


def test_one_that_was_left_can_be_asked_for() -> None:
    """By its number."""
    assert isinstance(choose_restore([left_behind(whole(12))], 12), Restore)


def test_one_that_was_left_does_not_count_as_kept() -> None:
    """An old process that came back late with a high number does not push out what holds."""
    assert what_to_delete([whole(8), whole(9), left_behind(whole(12))], retain=1).checkpoint_ids == (8,)


def test_one_that_a_newer_attempt_has_started_from_is_not_passed_over() -> None:
    """Its own come after it."""
    decision = choose_restore([whole(12, attempt=1), whole(13, attempt=2)], problems_by_id={13: ["damaged"]})
    assert isinstance(decision, Restore)
    assert decision.manifest.checkpoint_id == 12


def test_a_start_from_nothing_can_be_asked_for() -> None:
    """Even when there are checkpoints."""
    assert choose_restore([whole(1)], "none", last_seen_id=1) == StartFresh()


def test_a_checkpoint_can_be_asked_for_by_id_and_a_savepoint_by_name_or_id() -> None:
    """Older ones too."""
    infos = [whole(1), whole(2, name="deploy"), whole(3)]
    assert choose_restore(infos, 1) == Restore(manifest_of(1))
    assert choose_restore(infos, "deploy") == Restore(manifest_of(2, name="deploy"))
    assert choose_restore(infos, 2) == Restore(manifest_of(2, name="deploy"))


def test_one_that_is_not_there_is_refused_and_those_there_are_named() -> None:
    """The user sees at once what could have been meant."""
    decision = choose_restore([whole(1), whole(2, name="deploy")], "depoly")
    assert decision == Refuse("there is no savepoint 'depoly' to restore; there are: checkpoint 1, savepoint 'deploy'")
    assert choose_restore([], 4) == Refuse("there is no checkpoint 4 to restore; there are: none at all")


def test_a_damaged_one_that_was_asked_for_is_not_replaced_by_another() -> None:
    """Who names one wants that one."""
    decision = choose_restore([whole(1), damaged(2)], 2)
    assert isinstance(decision, Refuse)
    assert decision.reason.startswith("checkpoint 2: path/2: it was cut")


# What to delete


def test_the_newest_whole_ones_are_kept() -> None:
    """Older ones go with what only they name."""
    infos = [whole(1, "ab"), whole(2, "bc"), whole(3, "cd")]
    assert what_to_delete(infos, retain=2) == Deletions((1,), ("a" * 64,))


def test_savepoints_are_never_deleted_and_keep_their_contents() -> None:
    """However old they are; and they do not use up the number kept."""
    infos = [whole(1, "ab", name="deploy"), whole(2, "bc"), whole(3, "cd"), whole(4, "d")]
    assert what_to_delete(infos, retain=1) == Deletions((2, 3), ("c" * 64,))


def test_one_in_use_is_kept() -> None:
    """It is being restored."""
    assert what_to_delete([whole(1, "a"), whole(2), whole(3)], retain=1, in_use={1}) == Deletions((2,))


def test_contents_of_a_checkpoint_under_way_are_kept() -> None:
    """No manifest names them yet."""
    infos = [whole(1, "ab"), whole(2)]
    assert what_to_delete(infos, retain=1, pinned={"a" * 64}) == Deletions((1,), ("b" * 64,))


def test_damaged_ones_do_not_count_as_kept() -> None:
    """Two whole ones are kept, though damaged ones are newer."""
    infos = [whole(1, "a"), whole(2, "b"), damaged(3), damaged(4)]
    deletions = what_to_delete(infos, retain=2)
    assert deletions.checkpoint_ids == ()


def test_a_damaged_one_goes_when_enough_newer_ones_are_whole() -> None:
    """It would have gone by now."""
    assert what_to_delete([damaged(1), whole(2), whole(3)], retain=2) == Deletions((1,))


def test_while_a_damaged_one_stays_no_contents_go() -> None:
    """Nobody knows what it names; the reason is given."""
    deletions = what_to_delete([whole(1, "a"), whole(2, "b"), damaged(3)], retain=1)
    assert deletions == Deletions((1,), (), ("checkpoint 3: path/3: it was cut",))


def test_nothing_goes_while_there_are_fewer_whole_ones_than_wanted() -> None:
    """A damaged one may be all there is to mend."""
    assert what_to_delete([damaged(1), whole(2)], retain=2).checkpoint_ids == ()


def test_at_least_one_checkpoint_is_kept() -> None:
    """Keeping none is refused."""
    with pytest.raises(ValueError, match="at least one checkpoint must be kept, not 0"):
        what_to_delete([], retain=0)


@st.composite
def listings(draw: st.DrawFn) -> list[CheckpointInfo]:
    infos = []
    for checkpoint_id in range(1, draw(st.integers(1, 8)) + 1):
        kind = draw(st.sampled_from(["whole", "whole", "savepoint", "damaged"]))
        contents = "".join(draw(st.sets(st.sampled_from("abcdef"), max_size=3)))
        if kind == "damaged":
            infos.append(damaged(checkpoint_id))
        else:
            name = f"s{checkpoint_id}" if kind == "savepoint" else None
            infos.append(whole(checkpoint_id, contents, name))
    return infos


@given(listings(), st.integers(1, 4), st.sets(st.integers(1, 8), max_size=2))
def test_retention_never_takes_what_is_needed(infos: list[CheckpointInfo], retain: int, in_use: set[int]) -> None:
    """Checked against the rules one by one, over all listings."""
    deletions = what_to_delete(infos, retain, in_use)
    kept = [info for info in infos if info.checkpoint_id not in deletions.checkpoint_ids]
    automatic = [info.checkpoint_id for info in infos if info.kind == "checkpoint" and info.manifest]
    assert [info for info in infos if info.kind == "savepoint"] == [i for i in kept if i.kind == "savepoint"]
    assert automatic[-retain:] == [i.checkpoint_id for i in kept if i.checkpoint_id in automatic[-retain:]]
    assert not in_use & set(deletions.checkpoint_ids)
    assert not named_contents(kept) & set(deletions.contents)
    assert set(deletions.contents) <= named_contents(infos)
    if any(info.manifest is None for info in kept):
        assert deletions.contents == ()
        assert deletions.kept_back
    else:
        assert named_contents(infos) == named_contents(kept) | set(deletions.contents)
    left = what_to_delete(kept, retain, in_use)
    assert (left.checkpoint_ids, left.contents) == ((), ())
