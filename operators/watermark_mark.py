"""The watermark up to which an operator has fired, kept in its state.

After a restore the watermark of the stream may begin lower than it stood. What fired before the checkpoint
must not fire again as if it were new, and what was late must stay late: so the operator remembers.
"""

from __future__ import annotations

from .operator import OperatorContext
from .state import LocalListState
from .time import MIN_WATERMARK

# Items are dealt out in turn when a job is rescaled: so many copies that each of up to 256 new subtasks gets one.
_COPIES = 256


class WatermarkMark:
    """The highest watermark that an operator of one subtask has acted on.

    Aligned barriers find all subtasks of an operator at the same watermark. Should they differ after a
    rescale, the lowest counts: a window may then fire once more, none is missed.

    Attributes:
        watermark_ms: the watermark; `MIN_WATERMARK` before the first.
    """

    STATE = LocalListState[tuple[int, int, int]]("watermark", tuple[int, int, int])
    """Items: (subtask, parallelism, watermark)."""

    def __init__(self, context: OperatorContext) -> None:
        self._list = context.state(self.STATE)
        self._place = (context.subtask, context.parallelism)
        items = [tuple(item) for item in self._list.items]
        same = [mark for subtask, parallelism, mark in items if (subtask, parallelism) == self._place]
        self.watermark_ms: int = min(same or [mark for *_, mark in items], default=MIN_WATERMARK)

    def save(self) -> None:
        """Put it into the state; before each snapshot."""
        subtask, parallelism = self._place
        copies = -(-_COPIES // parallelism)
        self._list.items = [(subtask, parallelism, self.watermark_ms)] * copies
