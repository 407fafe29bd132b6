"""State ten times as large as its memory, every key as likely as any other."""

from __future__ import annotations

from random import Random

from .beyond_memory import beyond_memory


def any_key(random: Random, n_keys: int) -> int:
    """One as likely as another: what is in memory is of no more use than what is not."""
    return int(random.random() * n_keys)


SCENARIO = beyond_memory("state ten times its memory, keys by chance: against all in memory", any_key, 0.25)
