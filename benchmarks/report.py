"""What was measured, as a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from .harness import Outcome

RESULTS: Final = Path(__file__).resolve().parent / "results"

_LIBRARIES: Final = (
    "tidegate",
    "msgspec",
    "rocksdict",
    "obstore",
    "uvloop",
    "numpy",
    "duckdb",
    "aiokafka",
    "confluent-kafka",
)


def machine() -> dict[str, Any]:
    """What the figures depend on: versions and the kind of machine. No names and no paths."""
    versions = {}
    for library in _LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "not installed"
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "libraries": versions,
    }


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All that is known of a run."""
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "scenarios": [outcome.as_json() for outcome in outcomes],
    }


def save(found: dict[str, Any], path: Path | None) -> Path:
    """Write a run to `path` or, when None, to a file of its own among the results; where."""
    if path is None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{found['date']}.json"
        number = 2
        while path.exists():
            path = RESULTS / f"{found['date']}-{number}.json"
            number += 1
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
