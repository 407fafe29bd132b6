"""Which subtasks have nothing to read when an attempt begins, and so which channels are idle from the start. Pure.

They would say so themselves, but at some time: until then the others' records would be held against a watermark that waits
for them, and what is late would depend on who speaks first.
"""

from __future__ import annotations

from collections.abc import Collection

from ...operators.operator import AsyncOperator
from ..plan import Chained


def silent_inputs(chain: Chained, subtask: int, silent: Collection[tuple[Chained, int]]) -> list[bool]:
    """For each input channel of a subtask, in order, whether the subtask that sends on it is among the silent ones."""
    channels: list[bool] = []
    for edge in chain.inputs:
        senders = [subtask] if edge.partitioner == "forward" else range(edge.sender.parallelism)
        channels += [(edge.sender, sender) in silent for sender in senders]
    return channels


def passes_silence_on(chain: Chained, inputs: list[bool], *, restored: bool) -> bool:
    """Whether a subtask with these inputs is silent itself.

    Args:
        restored: its state comes from a checkpoint. There may be calls in flight in it, whose results are still to come.
    """
    return all(inputs) and not (restored and isinstance(chain.head.what, AsyncOperator))
