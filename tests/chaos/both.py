"""`make chaos`: the job from files and the job from topics, side by side, each with its own faults.

The exit code is 0 when both are right. One that cannot be run here is skipped, with the reason.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

_SKIPPED = 77


def main() -> int:
    """Run both; 0 when none found anything wrong."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="of both; by chance when left out, and printed")
    given = parser.parse_args()
    run = [sys.executable, str(Path(__file__).with_name("run.py"))]
    options = ["--seconds", str(given.minutes * 60)] + ([] if given.seed is None else ["--seed", str(given.seed)])
    running = {what: subprocess.Popen([*run, what, *options]) for what in ("files", "kafka")}
    codes = {}
    try:
        codes = {what: process.wait() for what, process in running.items()}
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    for what, code in codes.items():
        print(f"chaos, {what}: {'skipped' if code == _SKIPPED else 'ok' if code == 0 else 'FAILED'}")
    return int(any(code not in (0, _SKIPPED) for code in codes.values()))


if __name__ == "__main__":
    sys.exit(main())
