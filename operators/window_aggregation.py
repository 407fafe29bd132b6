"""What the window operators have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from .aggregate import Aggregate
from .codegen import Code, Variants
from .layout import Layout
from .operator import Operator, OperatorContext
from .window_output import trigger_functions
from .windows import Trigger, Window, on_watermark

BOUNDS: Final = ("key", "start_ms", "end_ms")
"""What every result has besides its aggregates."""

MakeResults: TypeAlias = Callable[[Any, Window, Any], Any]
"""Makes of (key, window, result) the values to give out."""


class WindowAggregation(Operator[Any, Any]):
    """Aggregates per key and window, the windows still to be said by the subclass: it gives the inner loop, and what an
    accumulator must know besides the aggregates.

    A record costs one lookup and one update. State: accumulators, of as many slots as the aggregates and the marks need.

    Args:
        aggregates: name → aggregate.
        trigger: when windows fire.
        marks: slots of an accumulator besides those of the aggregates: name → (type, initial value as source).
        template: the inner loop; see `Code`.
        lines: what goes into the template at its marks.
        record_type: the type of the records, where it is known.
        results: None gives out the result itself.
        inline: write the inner loop out; False runs the plain twin.
    """

    kind: str = "window"
    keyed: bool = True

    def __init__(
        self,
        aggregates: Mapping[str, Aggregate[Any, Any]],
        trigger: Trigger,
        *,
        marks: Mapping[str, tuple[Any, str]] | None,
        template: str,
        lines: Mapping[str, list[str]],
        record_type: Any,
        results: MakeResults | None,
        inline: bool,
    ) -> None:
        self.trigger = trigger
        # What they say depends on the trigger, which is settled here.
        self.emits_only_on_watermark = trigger == on_watermark()
        self.uses_timers = self.uses_timers or trigger.every_ms is not None
        self.layout = Layout(
            aggregates, marks=marks, bounds={"key": Any, "start_ms": int, "end_ms": int}, record_type=record_type
        )
        self._make = results
        functions = trigger_functions(trigger)
        self._codes = Variants(
            lambda mapping: Code(
                self.layout, template, bounds=BOUNDS, lines=lines, functions=functions, mapping=mapping, inline=inline
            )
        )

    @property
    def result_type(self) -> Any:
        """The Struct type of the results, or Any where `results` makes something else of them."""
        return self.layout.result if self._make is None else Any

    def code(self) -> str:
        """The source of the inner loop, as it is written for records with fields."""
        return self._codes[False].source

    def open(self, context: OperatorContext) -> None:
        self._context = context
        self._code = self._codes[False]

    def _schedule(self, key: Any) -> None:
        """Fire for the key at the next round of the trigger's clock."""
        every_ms = self.trigger.every_ms
        assert every_ms is not None
        now_ms = self._context.now_ms()
        self._context.timers.set_processing(now_ms - now_ms % every_ms + every_ms, key)


def checked_lateness(allowed_lateness_ms: int) -> int:
    """The allowed lateness, in milliseconds.

    Raises:
        ValueError: it is negative.
    """
    if allowed_lateness_ms < 0:
        raise ValueError(f"allowed lateness cannot be negative: {allowed_lateness_ms}ms")
    return allowed_lateness_ms
