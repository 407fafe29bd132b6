"""The demo's working folder: what a user of the engine would write, made by the demo."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from .worker import APP, LOG, STATE

RESULTS: Final = "results"
CONFIG: Final = "tidegate.toml"
INPUT: Final = "flights.jsonl"

_OURS: Final = frozenset({APP, LOG, STATE, RESULTS, CONFIG, INPUT, "airlines.csv", "__pycache__"})

_APP_TEXT: Final = '''\
"""The topology that `tidegate demo` runs. In this folder: tidegate explain {app}"""

from pathlib import Path

from tidegate.engine.demo.flights import flight_delays

topology = flight_delays(Path(__file__).parent, rate_limit={rate})
'''

_CONFIG_TEXT: Final = """\
# What `tidegate run` in this folder takes as its settings.
[run]
checkpoints = "{state}"
checkpoint_interval = "500ms"
retain = 5
report_interval = "200ms"
metrics_port = "none"
"""


def prepare_folder(folder: Path, rate: float | None) -> None:
    """Make the folder, empty but for the topology's file and the settings.

    Args:
        folder: where; what an earlier demo left there is removed.
        rate: flights per second; None for no limit.

    Raises:
        ConfigError: it holds something that no demo has made, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir()}
        if not there <= _OURS:
            strange = sorted(there - _OURS)[0]
            raise ConfigError(f"{folder}: holds {strange!r}, which is not of the demo: choose another --output")
        for name in there:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        (folder / APP).write_text(_APP_TEXT.format(app=APP, rate=rate), encoding="utf-8")
        (folder / CONFIG).write_text(_CONFIG_TEXT.format(state=STATE), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be used for the demo: {error.strerror}") from None
