"""Running again from a checkpoint, into other sinks."""

import sys
from pathlib import Path

import pytest
from tidegate.connectors import memory
from tidegate.engine import RunConfig, Topology
from tidegate.engine.cli.main import main
from tidegate.engine.cli.output import UsageError
from tidegate.engine.cli.replay import redirect, replay_settings
from tidegate.engine.restart import never


def two_sinks() -> Topology:
    """A topology with the sinks `a` and `b`."""
    topology = Topology("two")
    stream = topology.source("in", memory.source([1, 2, 3]))
    stream.sink("a", memory.sink())
    stream.sink("b", memory.sink())
    return topology


def test_a_replay_reads_checkpoints_and_takes_none() -> None:
    """And it never restarts: it would begin where it began."""
    config = replay_settings(RunConfig(checkpoints="state"), "12", "2013-01-01")
    assert (config.checkpoints, config.restore_from, config.restore) == (None, "state", 12)
    assert config.until_ms == 1_356_998_400_000
    assert config.restart == never()
    assert replay_settings(RunConfig(checkpoints="state"), "before-deploy", None).restore == "before-deploy"


def test_a_replay_needs_a_place_and_a_time_that_is_one() -> None:
    """Said in terms of the flags."""
    with pytest.raises(UsageError, match="--checkpoints DIR"):
        replay_settings(RunConfig(), "1", None)
    with pytest.raises(UsageError, match="--until: 'soon' is not a time"):
        replay_settings(RunConfig(checkpoints="state"), "1", "soon")


def test_no_sink_is_written_a_second_time_by_accident() -> None:
    """Every sink has to be named; the message says how."""
    with pytest.raises(UsageError, match="give --sink b=WHERE"):
        redirect(two_sinks(), ["a=discard"])


def test_a_sink_may_be_replaced_by_one_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any sink, made as in a topology."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "replay_sinks.py"
    file.write_text("from tidegate.connectors import memory\nother = memory.sink()\nnumber = 3\n")
    topology = two_sinks()
    redirect(topology, [f"a={file}:other", "b=discard"])
    described = {node.name: node.what.describe() for node in topology.nodes if node.kind == "sink"}
    assert described == {"a": "memory.sink()", "b": "discard"}
    assert next(n for n in topology.nodes if n.name == "a").what is sys.modules["replay_sinks"].other
    with pytest.raises(UsageError, match="is not a sink"):
        redirect(two_sinks(), [f"a={file}:number", "b=discard"])


def test_a_sink_that_can_write_elsewhere_is_given_the_path() -> None:
    """By its method `at`."""

    class Movable:
        def __init__(self, path: str) -> None:
            self.path = path

        def at(self, path: str) -> "Movable":
            return Movable(path)

    topology = two_sinks()
    node = next(n for n in topology.nodes if n.name == "a")
    node.what = Movable("out")
    redirect(topology, ["a=again", "b=discard"])
    assert isinstance(node.what, Movable)
    assert node.what.path == "again"


APP = """
from tidegate.connectors import memory
from tidegate.engine import Topology

topology = Topology("replayed")
topology.source("in", memory.source(list(range(10)))).sink("out", memory.sink())
"""


def test_a_replay_leaves_the_checkpoints_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run, then replay from the newest: the folder is the same byte for byte."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("TIDEGATE_STATE_BACKEND", "dict")
    Path("replay_app.py").write_text(APP)
    assert main(["run", "replay_app.py", "--checkpoints", "state", "--json"]) == 0
    before = {path: path.read_bytes() for path in Path("state").rglob("*") if path.is_file()}
    line = ["replay", "replay_app.py", "--checkpoints", "state", "--from", "latest", "--sink", "out=discard"]
    assert main([*line, "--no-live"]) == 0
    assert {path: path.read_bytes() for path in Path("state").rglob("*") if path.is_file()} == before
    sys.modules.pop("replay_app", None)
