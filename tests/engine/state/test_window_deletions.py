"""What is void in the database is taken out in portions, and comes back when it was not deleted."""

from __future__ import annotations

from tidegate.engine.state.window_deletions import WindowDeletions


def _some() -> WindowDeletions:
    void = WindowDeletions()
    void.drop(1, ["a", "b"])
    void.drop(2, None)
    void.remove(3, "c")
    void.remove(3, "d")
    return void


def test_portions_are_about_as_large_as_asked_for() -> None:
    """Whole namespaces first; one that is void altogether costs a deletion for each key group."""
    void = _some()
    counts = []
    while void:
        portion, count = void.portion(1, key_groups=16)
        assert len(portion) == 1
        counts.append(count)
    assert sorted(counts) == [2, 2, 16]
    assert void.portion(5, key_groups=16)[1] == 0


def test_what_was_not_deleted_comes_back() -> None:
    """Beside what has become void since; a namespace of which all is void stays so."""
    earlier, later = _some(), WindowDeletions()
    later.drop(1, None)
    later.drop(2, ["x"])
    later.remove(3, "e")
    later.take_back(earlier)
    assert later.dropped == {1: None, 2: None}
    assert later.removed == {3: {"c", "d", "e"}}
    assert list(later.namespaces) == [1, 2, 3]
    assert later.has_removed(3, "d")
    later.forget(3)
    assert not later.has_removed(3, "d")
