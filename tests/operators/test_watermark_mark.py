"""The watermark an operator has acted on, over restores and rescales."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.operators.time import MIN_WATERMARK
from tidegate.operators.watermark_mark import WatermarkMark


class Items:
    """A local list, as an operator sees it."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class Context:
    """As much of an operator's context as a mark needs."""

    def __init__(self, items: list[Any], subtask: int, parallelism: int) -> None:
        self.list = Items(items)
        self.subtask = subtask
        self.parallelism = parallelism

    def state(self, descriptor: Any) -> Items:
        return self.list


def saved(watermarks: list[int]) -> list[Any]:
    """The items of a checkpoint whose subtasks stood at these watermarks."""
    items: list[Any] = []
    for subtask, watermark in enumerate(watermarks):
        context = Context([], subtask, len(watermarks))
        mark = WatermarkMark(context)  # type: ignore[arg-type]  # a mark asks for no more
        assert mark.watermark_ms == MIN_WATERMARK
        mark.watermark_ms = watermark
        mark.save()
        items += context.list.items
    return items


def restored(items: list[Any], parallelism: int) -> list[int]:
    """The marks of the subtasks that the items are dealt out to in turn."""
    return [
        WatermarkMark(Context(items[i::parallelism], i, parallelism)).watermark_ms  # type: ignore[arg-type]  # as above
        for i in range(parallelism)
    ]


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 3), (3, 1), (2, 3), (1, 128), (128, 1), (7, 256)])
def test_every_subtask_finds_the_mark_after_a_rescale(before: int, after: int) -> None:
    """However many subtasks there were and are."""
    assert restored(saved([42] * before), after) == [42] * after


def test_a_subtask_finds_its_own_mark_when_nothing_is_rescaled() -> None:
    """Marks that differ stay where they belong."""
    assert restored(saved([10, 20, 30]), 3) == [10, 20, 30]


def test_of_marks_that_differ_the_lowest_counts_after_a_rescale() -> None:
    """A window may fire once more; none is missed."""
    assert restored(saved([10, 20]), 1) == [10]
