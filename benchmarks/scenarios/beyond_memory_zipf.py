"""State ten times as large as its memory, few keys frequent and many rare."""

from __future__ import annotations

from random import Random

from .beyond_memory import beyond_memory


def zipf_key(random: Random, n_keys: int) -> int:
    """The nth key about as often as 1 / n: a tenth of a million keys has five records in six."""
    return int(n_keys ** random.random()) - 1


SCENARIO = beyond_memory("state ten times its memory, keys by Zipf's law: against all in memory", zipf_key, 0.8)
