"""`tidegate simulate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tidegate.engine.cli.main import main

APP = """
from tidegate.connectors import console, files, formats
from tidegate.engine import Topology
from tidegate.operators import ProcessFunction, agg

class Forgetful(ProcessFunction):
    def open(self, context):
        self.seen = 0
    def process(self, value, context):
        self.seen += 1
        yield self.seen

def topology(process=None):
    made = Topology("words")
    words = made.source("words", files.lines("in.jsonl", formats.json(str), follow=True))
    if process is None:
        words.key_by(lambda word: word, name="by-word").aggregate(n=agg.count(), name="count").sink("out", console.sink())
    else:
        words.process(process, name="count").sink("out", console.sink())
    return made

def forgetful():
    return topology(Forgetful())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program and its input."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "in.jsonl").write_text("".join(f'"{letter}"\n' for letter in "abcabcaab" * 5))
    return tmp_path


def test_it_says_what_was_gone_through(folder, capsys):
    """Nothing of the program's own is read but the input that is given, and nothing is written."""
    before = sorted(path.name for path in folder.iterdir())
    assert main(["simulate", "app.py:topology", "--seeds", "5", "--processes", "1", "--input", "words=in.jsonl"]) == 0
    assert "5 seeds, nothing wrong" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == before
    arguments = [
        "simulate",
        "app.py:topology",
        "--seeds",
        "2",
        "--processes",
        "1",
        "--input",
        "words=in.jsonl",
        "--json",
    ]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["violation"] is None


def test_what_is_wrong_is_shown_again_by_its_seed(folder, capsys):
    """Exit code 1, the seed, and with `--seed` the whole trace."""
    given = ["--input", "words=in.jsonl", "--processes", "1"]
    assert main(["simulate", "app.py:forgetful", "--seeds", "200", *given, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert main(["simulate", "app.py:forgetful", "--seed", str(found["seed"]), *given]) == 1
    shown = capsys.readouterr()
    assert found["violation"] in shown.err
    assert found["trace"][-1] in shown.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "source 'words' has no end"),
        (["--input", "words"], "write SOURCE=FILE"),
        (["--input", "letters=in.jsonl"], "the topology has words"),
        (["--input", "words=missing.jsonl"], "No such file"),
        (["--input", "words=bad.jsonl"], "line 2"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message, folder, capsys):
    """Exit code 2, and what to write instead."""
    (folder / "bad.jsonl").write_text('"a"\n7\n')
    assert main(["simulate", "app.py:topology", "--seeds", "1", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
