"""What stands in the documentation happens: programs run, commands end as they say, links lead somewhere.

A page is played from top to bottom in an empty folder:

- a Python block that begins with a comment `# name.py` is written to that file; any other Python block is run, and
  sees the names of the blocks before it;
- a line `$ command` of a console block is run; `# exit 137` behind it gives its exit code, 0 otherwise. Commands of
  the README's and other overviews, which need what is not there, are checked for their name and options only. A job that
  `timeout -s KILL` kills is killed when it has completed a checkpoint, however long a busy machine takes for that.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tidegate.engine import ConnectedStreams, KeyedStream, OverStream, Stream, Table, WindowedStream
from tidegate.engine.cli.main import _COMMANDS
from tidegate.engine.clock import SystemClock
from tidegate.engine.config import SETTINGS
from tidegate.engine.fluent.joins import KeyedJoins
from tidegate.engine.fluent.lookups import Lookups
from tidegate.engine.metrics.measures import JobMeasures
from tidegate.engine.metrics.prometheus import MeasuresCollector
from tidegate.operators import agg, patterns, windows

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
OTHERS = [
    ROOT / "README.md",
    ROOT / "engine" / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "benchmarks" / "nexmark" / "README.md",
    ROOT / "tests" / "README.md",
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# Those of Kafka need a broker: they have tests of their own.
ALONE = [path for path in EXAMPLES if path.stem != "flight_delays" and not path.stem.startswith("kafka_")]

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# ([\w/]+\.py)\n")
EXIT = re.compile(r"\s+# exit (\d+)$")
KILLED = re.compile(r"timeout -s KILL \d+ (.*)")
ANCHOR = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

PLAYER = """
import pathlib, sys, warnings
warnings.simplefilter("error")
names = {"__name__": "page"}
for path in sys.argv[1:]:
    exec(compile(pathlib.Path(path).read_text(), path, "exec"), names)
"""


def _environment(folder: Path) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder)}


def _run(folder: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=folder, env=_environment(folder), capture_output=True, text=True, timeout=100, check=False
    )


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page)], ids=_name)
def test_a_page_can_be_followed_from_top_to_bottom(page, tmp_path):
    """Every program runs without a warning and every command ends as the page says."""
    programs: list[str] = []
    for number, (kind, text) in enumerate(_blocks(page)):
        file = FILE.match(text)
        if kind == "python" and file is not None:
            (tmp_path / file[1]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file[1]).write_text(text)
        elif kind == "python":
            block = tmp_path / f"block_{number}.txt"
            block.write_text(text)
            programs.append(str(block))
        else:
            for line in text.splitlines():
                if line.startswith("$ ") and not line.startswith("$ make "):
                    _follow(tmp_path, line.removeprefix("$ "))
    if programs:
        done = _run(tmp_path, [sys.executable, "-c", PLAYER, *programs])
        assert done.returncode == 0, done.stderr


def _follow(folder: Path, command: str) -> None:
    expected = EXIT.search(command)
    command = EXIT.sub("", command)
    killed = KILLED.match(command)
    done = _run(folder, ["bash", "-c", command]) if killed is None else _run_and_kill(folder, killed[1])
    wanted = 0 if expected is None else int(expected[1])
    # A shell that has become the command itself ends as the command did: by the signal, not with its number.
    code = 128 - done.returncode if done.returncode < 0 else done.returncode
    assert code == wanted, f"{command}\n{done.stdout}\n{done.stderr}"


def _run_and_kill(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(
        shlex.split(command),
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as job:
        try:
            while job.poll() is None and not any(folder.glob("state/*/checkpoints/*/manifest*")):
                time.sleep(0.05)
        finally:
            job.kill()
        return subprocess.CompletedProcess(command, job.wait(), "", job.communicate()[1])


@pytest.mark.slow
def test_the_programs_of_the_readme_run(tmp_path):
    """Each block is a program of its own."""
    programs = [text for kind, text in _blocks(ROOT / "README.md") if kind == "python"]
    assert len(programs) >= 2
    for number, text in enumerate(programs):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "app.py").write_text(text)
        done = _run(folder, [sys.executable, "-W", "error", "app.py"])
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


@pytest.mark.slow
def test_the_commands_of_the_readme_exist(tmp_path):
    """Every `tidegate` command has the name and the options that are shown."""
    text = (ROOT / "README.md").read_text()
    commands = [
        shlex.split(line.removeprefix("$ "))[1:]
        for kind, block in BLOCK.findall(text)
        for line in block.splitlines()
        if kind == "console" and line.startswith("$ tidegate ")
    ]
    assert len(commands) > 5
    helps: dict[str, str] = {}
    for words in commands:
        name = " ".join(words[: 2 if words[0] in ("checkpoints", "savepoint", "state") else 1])
        if name not in helps:
            done = _run(tmp_path, ["tidegate", *name.split(), "--help"])
            assert done.returncode == 0, done.stderr
            helps[name] = done.stdout
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", helps[name]), f"tidegate {name} has no {option}"


def test_the_program_of_the_readme_is_the_first_example():
    """One text in two places."""
    programs = [text for kind, text in _blocks(ROOT / "README.md") if kind == "python"]
    example = (ROOT / "examples" / "first.py").read_text()
    assert example.endswith(programs[0])


@pytest.mark.slow
@pytest.mark.parametrize("example", ALONE, ids=_name)
def test_an_example_runs(example, tmp_path):
    """Each is a whole program that shows something."""
    done = _run(tmp_path, [sys.executable, "-W", "error", str(example)])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.slow
def test_the_example_of_the_flights_can_be_explained(tmp_path):
    """It is the topology of the demo, as an application's file."""
    (tmp_path / "airlines.csv").write_text("carrier,name\nAA,American\n")
    done = _run(tmp_path, ["tidegate", "explain", str(ROOT / "examples" / "flight_delays.py")])
    assert done.returncode == 0, done.stderr
    assert "session(12h)" in done.stdout


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=_name)
def test_links_lead_somewhere(page):
    """Every relative link names a file that is there."""
    broken = [
        link for link in LINK.findall(page.read_text()) if "://" not in link and not (page.parent / link).exists()
    ]
    assert broken == []


def _anchors(page: Path) -> set[str]:
    """What a link may name behind `#`: the headings, as GitHub writes them."""
    text = BLOCK.sub("", page.read_text())
    headings = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=_name)
def test_links_lead_to_headings_that_are_there(page):
    """Every anchor of a relative link is a heading of its page."""
    broken = [
        f"{link}#{anchor}"
        for link, anchor in ANCHOR.findall(page.read_text())
        if "://" not in link and anchor not in _anchors(page.parent / link if link else page)
    ]
    assert broken == []


def test_every_page_stands_in_the_list_of_all_pages():
    """So that none is only found by who knows that it is there."""
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES}
    assert sorted(pages - listed - {"README.md"}) == []


def _public(module: object) -> set[str]:
    """The functions that a module defines and means for users."""
    return {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == vars(module)["__name__"]
    }


def _methods(*classes: type) -> set[str]:
    return {
        name
        for one in classes
        for name, value in vars(one).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def _metrics() -> set[str]:
    collector = MeasuresCollector(JobMeasures("job"), SystemClock())
    return {metric.name for metric in collector.collect()}


REFERENCES = {
    "config": set(SETTINGS),
    "aggregates": _public(agg),
    "windows": _public(windows),
    "operators": _methods(Stream, KeyedStream, OverStream, WindowedStream),
    "joins": _methods(KeyedJoins, Lookups, Table, ConnectedStreams),
    "patterns": _public(patterns) | _methods(patterns.Pattern, patterns.Match),
    "cli": set(_COMMANDS),
    "metrics": _metrics(),
}


@pytest.mark.parametrize("page", REFERENCES)
def test_a_reference_names_everything_there_is(page):
    """Every setting, aggregate, window, method, command and metric stands in its page."""
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    assert [name for name in sorted(REFERENCES[page]) if not re.search(rf"\b{name}\b", text)] == []


def test_the_metrics_of_the_reference_exist():
    """A name in the page is one that is served, or depends on a restart or a checkpoint having happened."""
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    source = (ROOT / "engine" / "metrics" / "prometheus.py").read_text()
    named = {name.removesuffix("_total") for name in re.findall(r"\btidegate_([a-z_]+)", text)}
    assert [name for name in sorted(named) if f'{name}"' not in source] == []


def test_the_files_of_the_architecture_page_exist():
    """Every file that the page names is there, in one of the folders of the engine or under its whole path."""
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "engine" / "README.md").read_text()))
    there = [
        path for folder in ("engine", "operators", "connectors", "tests") for path in (ROOT / folder).rglob("*.py")
    ]
    missing = [name for name in sorted(named) if not any(str(path).endswith(f"/{name}") for path in there)]
    assert len(named) > 30
    assert missing == []
