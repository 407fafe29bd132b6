"""What a program uses is known with all its processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are adopted on Linux only"),
]

MEASURE = """
import json, sys
from pathlib import Path
from benchmarks.process_tree import run_tree
from benchmarks.scenario import BenchmarkError
longest_s, work, *command = sys.argv[1:]
try:
    used = run_tree(command, Path(work), cwd=Path.cwd(), longest_s=float(longest_s))
    print(json.dumps(vars(used)))
except BenchmarkError as error:
    print(json.dumps({"error": str(error)}))
"""

BURN = "import time\nwhile time.process_time() < 0.3: pass"


def measured(tmp_path: Path, *command: str, longest_s: float = 60.0) -> dict[str, Any]:
    """What `run_tree` says of a command; in a process of its own, since it waits for all children."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(longest_s), str(tmp_path), *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_cpu_time_of_a_process_that_outlives_its_parent_counts(tmp_path: Path) -> None:
    """Also in a session of its own, as JVMs and their workers are."""
    leave = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BURN!r}], start_new_session=True); print(7)"
    )
    used = measured(tmp_path, sys.executable, "-c", leave)
    assert used["cpu_s"] >= 0.3
    assert used["wall_s"] < used["cpu_s"]
    assert used["stdout"] == "7\n"


def test_memory_is_that_of_all_processes_together(tmp_path: Path) -> None:
    """Of the parent and its child at the same time."""
    hold = "import time\nheld = bytearray(50 << 20)\nwhile time.process_time() < 0.5: held[0] = 1"
    both = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {hold!r}])\n{hold}\nchild.wait()"
    assert measured(tmp_path, sys.executable, "-c", both)["peak_rss_bytes"] > 100 << 20


def test_a_program_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    """The last lines, and the exit code."""
    said = measured(tmp_path, sys.executable, "-c", "import sys; sys.exit('no such thing')")
    assert said == {"error": "ended with exit code 1\nno such thing"}


def test_a_program_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """The shell and what it waits for."""
    assert measured(tmp_path, "sh", "-c", "tail -f /dev/null; true", longest_s=0.1) == {"error": "did not end in time"}
