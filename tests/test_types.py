"""A wrong lambda is an editor error: a type checker finds exactly the mistakes that the cases mark."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CASES = sorted((ROOT / "tests" / "typing").glob("*.py"))
MARK = re.compile(r"# ([ER]): (.*)$")
FOUND = re.compile(r":(\d+): (error|note): (.*)$")
PREFIX = re.compile(r"\b(?:tidegate|flow|joins|live_state|builtins|typing)\.(?:\w+\.)*")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_the_type_checker_finds_what_the_case_marks_and_nothing_else(case, tmp_path):
    """Types flow through map, key_by, windows, aggregates and join points."""
    folder = tmp_path / "types" / "tidegate"
    folder.mkdir(parents=True)
    for package in ("engine", "operators", "connectors"):
        (folder / package).symlink_to(ROOT / package)
    config = tmp_path / "mypy.ini"
    config.write_text(
        f"[mypy]\nstrict = True\nmypy_path = {tmp_path / 'types'}\nnamespace_packages = True\n"
        "explicit_package_bases = True\n[mypy-tidegate.*]\nfollow_imports = silent\n"
    )
    cache = ROOT / ".mypy_cache" / "cases"
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", cache, "--no-error-summary", case]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    found: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        match = FOUND.search(line)
        if match and case.name in line and (match[2] == "error" or "Revealed type" in match[3]):
            found.setdefault(int(match[1]), []).append(PREFIX.sub("", match[3]))
    wrong = []
    for number, text in enumerate(case.read_text().splitlines(), 1):
        mark = MARK.search(text)
        there = found.pop(number, [])
        if mark is None or text.startswith(('"""', "type it")):
            wrong += [f"line {number}: not marked: {message}" for message in there]
        elif mark[1] == "R":
            if not any(f'Revealed type is "{mark[2]}"' in message for message in there) or len(there) > 1:
                wrong.append(f"line {number}: should reveal {mark[2]}, found {there}")
        elif not any(mark[2] in message for message in there):
            wrong.append(f"line {number}: should complain of {mark[2]!r}, found {there}")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert wrong == [], "\n".join(wrong)
