"""`tidegate replay`: into other sinks, or compared with what was written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tidegate.connectors import formats, kafka, memory
from tidegate.engine import Topology
from tidegate.engine.cli.main import main
from tidegate.engine.cli.output import UsageError
from tidegate.engine.cli.replay import redirected

Run = Callable[..., tuple[int, str, str]]

APP = """
import msgspec
from tidegate.connectors import files, formats, memory
from tidegate.engine import Topology
from tidegate.operators import agg

class Order(msgspec.Struct):
    shop: int
    amount: int

def topology(factor=1, name="orders"):
    made = Topology(name)
    orders = memory.source([Order(n % 3, n) for n in range(60)])
    totals = made.source("in", orders).key_by("shop", name="by-shop", key_type=int)
    totals.aggregate(name="total", n=agg.count(), total=agg.sum(lambda o: factor * o.amount)).sink(
        "out", files.lines("out", formats.json())
    )
    return made

def doubled():
    return topology(2)

other = memory.sink()
number = 3
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs a command line in a folder with a program and three checkpoints of it: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("TIDEGATE_STATE_BACKEND", "dict")
    Path("replay_app.py").write_text(APP)

    def run_one(*arguments: Any) -> tuple[int, str, str]:
        code = main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return int(code), captured.out, captured.err

    for _ in range(3):
        line = ["run", "replay_app.py:topology", "--checkpoints", "state", "--set", "stop_after_records=20"]
        assert run_one(*line, "--set", "retain=100", "--set", "metrics_port=none", "--no-live")[0] == 0
    yield run_one
    sys.modules.pop("replay_app", None)


REPLAY = ["replay", "replay_app.py:topology", "--checkpoints", "state", "--no-live"]


def _records(folder: str) -> list[Any]:
    parts = sorted(Path(folder).glob("part-*"))
    return [json.loads(line) for part in parts for line in part.read_text().splitlines()]


def two_sinks() -> Topology:
    """A topology with the sinks `a` and `b`."""
    topology = Topology("two")
    stream = topology.source("in", memory.source([1, 2, 3]))
    stream.sink("a", memory.sink())
    stream.sink("b", memory.sink())
    return topology


def test_no_sink_is_written_a_second_time_by_accident() -> None:
    """Every sink has to be named; the message says how."""
    with pytest.raises(UsageError, match="give --sink b=WHERE"):
        redirected(two_sinks(), ["a=discard"])


def test_a_sink_of_kafka_may_be_replaced_by_its_topic() -> None:
    """Another one than its own; what is wrong is one line."""
    topology = Topology("topics")
    out = kafka.sink("localhost:9092", "totals", format=formats.json())
    topology.source("in", memory.source([1])).sink("a", out)
    moved = redirected(topology, ["a=shadow"])["a"]
    assert moved is not None
    assert "'shadow'" in moved.describe()
    with pytest.raises(UsageError, match=r"--sink a=totals: topic 'totals' is the sink's own"):
        redirected(topology, ["a=totals"])


def test_a_sink_may_be_replaced_by_one_of_a_file(run: Run) -> None:
    """Any sink, made as in a topology; but not the topology's own."""
    sinks = redirected(two_sinks(), ["a=replay_app.py:other", "b=discard"])
    assert sinks == {"a": sys.modules["replay_app"].other, "b": None}
    with pytest.raises(UsageError, match="is not a sink"):
        redirected(two_sinks(), ["a=replay_app.py:number", "b=discard"])
    topology = Topology("own")
    topology.source("in", memory.source([1])).sink("a", sys.modules["replay_app"].other)
    with pytest.raises(UsageError, match="is the topology's own sink"):
        redirected(topology, ["a=replay_app.py:other"])


def test_a_sink_that_can_write_elsewhere_is_given_the_path() -> None:
    """By its method `at`."""

    class Movable:
        def __init__(self, path: str) -> None:
            self.path = path

        def at(self, path: str) -> Movable:
            return Movable(path)

    topology = two_sinks()
    node = next(n for n in topology.nodes if n.name == "a")
    node.what = Movable("out")  # type: ignore[assignment]  # all that is asked of it
    moved: Any = redirected(topology, ["a=again", "b=discard"])["a"]
    assert moved.path == "again"


def test_a_replay_leaves_the_job_alone(run: Run) -> None:
    """Its checkpoints and its output are the same byte for byte."""

    def contents() -> dict[Path, bytes]:
        folders = (Path("state"), Path("out"))
        return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}

    before = contents()
    assert run(*REPLAY, "--from", "latest", "--sink", "out=discard")[0] == 0
    assert run(*REPLAY, "--from", "1", "--sink", "out=again")[0] == 0
    assert contents() == before
    assert _records("again") == _records("out")[20:]


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        (["--from", "1", "--to", "2"], 20, 40),
        (["--from", "1", "--to", "latest"], 20, 60),
        (["--from", "none", "--to", "1"], 0, 20),
        (["--from", "1", "--count", "7"], 20, 27),
        (["--from", "1", "--to-offset", "in/0=33"], 20, 33),
    ],
)
def test_a_replay_ends_exactly_where_it_is_told_to(run: Run, options: list[str], first: int, last: int) -> None:
    """At a checkpoint, after a number of records, at an offset."""
    assert run(*REPLAY, *options, "--sink", "out=again")[0] == 0
    assert _records("again") == _records("out")[first:last]


def test_a_difference_ends_with_one(run: Run) -> None:
    """And is shown side by side."""
    line = ["replay", "replay_app.py:doubled", "--checkpoints", "state", "--from", "1", "--to", "2", "--diff"]
    code, out, _ = run(*line, "--key", "key,n", "--examples", "1")
    assert code == 1
    assert out.splitlines() == [
        "job orders, from checkpoint 1 to checkpoint 2",
        "",
        "sink  old  new  equal  added  missing  changed",
        "out    20   20      0      0        0       20",
        "",
        "out: changed (1 of 20)",
        "  [0,10]",
        "    total: 135 → 207",
        "",
        "different",
    ]
    code, out, err = run(*line, "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert (found["same"], found["outputs"][0]["added"], found["outputs"][0]["missing"]) == (False, 20, 20)


def test_no_difference_ends_with_zero(run: Run) -> None:
    """Until the latest checkpoint where nothing else is said."""
    code, out, _ = run("replay", "replay_app.py:topology", "--checkpoints", "state", "--from", "1", "--diff")
    assert code == 0
    assert out.splitlines()[-1] == "equal"
    assert "from checkpoint 1 to checkpoint 3" in out


def test_the_old_code_may_be_replayed(run: Run) -> None:
    """Over the same records, until any end."""
    line = ["replay", "replay_app.py:topology", "--checkpoints", "state", "--from", "1", "--count", "9", "--diff"]
    assert run(*line, "--against", "replay_app.py:topology")[0] == 0
    assert run(*line, "--against", "replay_app.py:doubled", "--json")[0] == 1


def test_the_old_output_may_be_a_folder(run: Run) -> None:
    """Of what a sink wrote."""
    line = ["replay", "replay_app.py:topology", "--checkpoints", "state", "--diff", "--old", "out=out"]
    assert run(*line, "--from", "none")[0] == 0
    assert run(*line, "--from", "1")[0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--from", "1"], "give --sink out=WHERE"),
        (["--from", "1", "--sink", "out=discard", "--until", "soon"], "--until: 'soon' is not a time"),
        (["--from", "1", "--sink", "out=discard", "--count", "0"], "--count 0: at least 1"),
        (["--from", "1", "--sink", "out=discard", "--to-offset", "in=3"], "write SOURCE/SPLIT=OFFSET"),
        (["--from", "1", "--sink", "out=discard", "--to-offset", "in/0=x"], "the offset 'x' is not JSON"),
        (["--from", "1", "--sink", "out=discard", "--key", "n"], "--key is for --diff"),
        (["--from", "1", "--sink", "outt=discard"], "there is no sink 'outt'"),
        (["--from", "7", "--sink", "out=discard"], "there is no checkpoint 7"),
        (["--from", "2", "--to", "1", "--sink", "out=discard"], "a replay ends behind its start"),
        (["--from", "1", "--sink", "out=again", "--diff"], "--diff writes nothing"),
        (["--from", "1", "--diff", "--key", "a=n", "--key", "n"], "--key n: write NAME=FIELD,FIELD"),
        (["--from", "1", "--diff", "--key", "n,,m"], "name fields, with commas between"),
        (["--from", "1", "--diff", "--count", "3"], "is known from checkpoint to checkpoint"),
        (["--from", "1", "--diff", "--old", "out"], "--old out: write NAME=PATH"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(run: Run, options: list[str], message: str) -> None:
    """On stderr, with exit code 2; nothing was run."""
    code, out, err = run(*REPLAY, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_replay_needs_a_place_to_read_checkpoints_from(run: Run) -> None:
    """Said in terms of the flags."""
    code, _, err = run("replay", "replay_app.py:topology", "--from", "1", "--sink", "out=discard")
    assert code == 2
    assert "give --checkpoints DIR" in err
