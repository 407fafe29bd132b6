"""Records whose number of keys and whose disorder can be chosen: the same in every run and on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

VERSION: Final = 1
"""Part of the file's name: raise it whenever the same call would make other records."""

START_MS: Final = 1_700_000_000_000
PER_MS: Final = 10
"""How many records there are for each millisecond of event time."""

_SEED: Final = 7
_CHUNK: Final = 100_000
_LINE: Final = '{"key":%d,"value":%d,"time_ms":%d}\n'


class Reading(msgspec.Struct, gc=False):
    """What a sensor says.

    Attributes:
        key: the sensor.
        value: from 0 to 999.
        time_ms: event time, milliseconds since 1970 UTC.
    """

    key: int
    value: int
    time_ms: int


@dataclass(frozen=True)
class Shape:
    """What can be chosen.

    Attributes:
        n_keys: how many sensors there are, all alike.
        most_delay_ms: delayed records come up to this late, evenly spread.
        delayed_per_mille: how many records of a thousand are delayed.
    """

    n_keys: int = 1_000
    most_delay_ms: int = 0
    delayed_per_mille: int = 0


def readings_file(folder: Path, n: int, shape: Shape) -> Path:
    """The file of `n` records as JSON lines, made if it is not there yet. It is whole or not there."""
    name = f"readings-v{VERSION}-{n}-{shape.n_keys}-{shape.most_delay_ms}-{shape.delayed_per_mille}.jsonl"
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        write_readings(partial, n, shape)
        partial.replace(path)
    return path


def write_readings(path: Path, n: int, shape: Shape) -> None:
    """Write `n` records as JSON lines."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    with path.open("w", buffering=1 << 22) as file:
        for first in range(0, n, _CHUNK):
            index = np.arange(first, min(first + _CHUNK, n))
            key = random.integers(0, shape.n_keys, _CHUNK)
            value = random.integers(0, 1000, _CHUNK)
            is_delayed = random.integers(0, 1000, _CHUNK) < shape.delayed_per_mille
            delay_ms = np.where(is_delayed, random.integers(0, shape.most_delay_ms + 1, _CHUNK), 0)
            time_ms = START_MS + index // PER_MS - delay_ms[: len(index)]
            rows = zip(key.tolist(), value.tolist(), time_ms.tolist(), strict=False)
            file.write("".join([_LINE % row for row in rows]))
