"""Steps for operators with two inputs: batches cut at random, watermarks in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tidegate.engine.testing import OperatorHarness


def _played(operator: Any, steps: Sequence[Any], **options: Any) -> tuple[list[list[Any]], list[Any]]:
    """What an operator gives out at each step, as sorted (value, timestamp, key), and the values that were late.

    A step is a watermark, or a batch: the number of the input and a list of (timestamp, key, value).
    """
    out = []
    with OperatorHarness(operator, **options) as h:
        for step in steps:
            before = len(h.values)
            if isinstance(step, int):
                h.watermark(step)
            else:
                index, records = step
                times, keys, values = map(list, zip(*records, strict=True))
                h.push(values, times, keys, input=index)
            given = [(*pair, key) for pair, key in zip(h.output, h.keys, strict=True)]
            out.append(sorted(given[before:], key=repr))
        return out, h.side("late")


@pytest.fixture(scope="session")
def played() -> Callable[..., Any]:
    """Runs an operator over steps."""
    return _played
