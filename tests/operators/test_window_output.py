"""Results on their way into a batch, and the lines of triggers."""

from __future__ import annotations

from tidegate.operators import windows
from tidegate.operators.window_output import WindowOutput, trigger_lines


def test_results_come_out_once_with_their_keys_and_the_last_moment_of_their_window() -> None:
    """And never as an empty batch."""
    out = WindowOutput(None)
    out.add(["x", "y"], ["a", "b"], windows.Window(0, 10))
    batch = out.take()
    assert batch is not None
    assert (batch.values, batch.keys, batch.timestamps) == (["x", "y"], ["a", "b"], [9, 9])
    assert out.take() is None


def test_a_function_may_make_any_number_of_values_of_a_result() -> None:
    """Each keeps the key of its window."""
    out = WindowOutput(lambda key, window, result: [key] * result)
    out.add([2, 0, 1], ["a", "b", "c"], windows.Window(0, 10))
    batch = out.take(timed=False)
    assert batch is not None
    assert (batch.values, batch.keys, batch.timestamps) == (["a", "a", "c"], ["a", "a", "c"], None)


def test_the_usual_trigger_costs_an_inner_loop_nothing() -> None:
    """Only counting and scheduling triggers write lines."""
    assert trigger_lines(windows.on_watermark(), "fire()") == []
    assert "fire()" in trigger_lines(windows.on_count(3), "fire()")[-1]
    assert "schedule(key)" in trigger_lines(windows.early(every="1s"), "fire()")[-1]
