"""The demo: the flights that left New York in 2013, killed once half way, compared with a batch query.

A user's program that ships with the engine. Nothing of the engine depends on it.
"""

from __future__ import annotations

from typing import Final

FLIGHTS_PER_S: Final = 20_000.0
"""The usual rate: slow enough to watch, and to be killed half way."""
