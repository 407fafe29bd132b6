"""The command line as a whole."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate.engine.cli.main import main

APP = """
from tidegate.connectors import memory
from tidegate.engine import Topology

def topology(values=range(100), function=lambda n: 2 * n):
    made = Topology("doubling")
    made.source("numbers", memory.source(list(values))).map(function, name="double").sink("out", memory.sink())
    return made

def divide(n):
    return 1 // (n - 50)

def failing():
    return topology(function=divide)

def interrupted():
    raise KeyboardInterrupt
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with a small program, and no settings from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in list(os.environ):
        if name.startswith("TIDEGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEGATE_STATE_BACKEND", "dict")
    Path("cli_app.py").write_text(APP)
    yield
    sys.modules.pop("cli_app", None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rnu", "there is no command 'rnu': did you mean 'run'?"),
        ("run", "Missing argument 'TARGET'. See: tidegate run --help"),
        ("run missing.py", "missing.py: there is no such file"),
        ("run cli_app.py:topolgy", "did you mean 'topology'?"),
        ("run cli_app.py:topology --fast", "--fast"),
        ("run cli_app.py:topology --parallelism many", "'--parallelism'"),
        ("run cli_app.py:topology --set retain", "--set retain: write KEY=VALUE"),
        ("run cli_app.py:topology --set retian=1", "unknown setting 'retian': did you mean 'retain'?"),
        ("run cli_app.py:topology --interval 1", "checkpoint_interval = '1': write a duration"),
        ("run cli_app.py:topology --config no.toml", "no.toml: cannot be read"),
        ("run cli_app.py:topology --profile p", "profile 'p' needs a configuration file"),
        ("explain cli_app.py:topology --mermaid --json", "exclude each other"),
        ("replay cli_app.py:topology", "--from"),
        ("replay cli_app.py:topology --from latest", "give --sink out=WHERE"),
        ("replay cli_app.py:topology --from latest --sink in=x", "there is no sink 'in'; the topology has out"),
        ("replay cli_app.py:topology --from latest --sink out=x.jsonl", "cannot write elsewhere"),
        ("replay cli_app.py:topology --from 3 --sink out=discard", "give --checkpoints DIR"),
        ("stop nowhere", "nowhere: there is no such directory"),
        ("status s3://bucket", "a local checkpoint directory only"),
        ("stop . --cancel --savepoint s", "exclude each other"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_code_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, with what to do; nothing is started and nothing is traced."""
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.startswith("tidegate")
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("line", ["run cli_app.py:topology --checkpoints", "checkpoints list"])
def test_an_object_store_that_does_not_answer_has_an_exit_code_of_its_own(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not that of a wrong argument, for another try may help."""
    options = "checkpoint_store = { endpoint = 'http://127.0.0.1:9', region = 'here', skip_signature = 'true' }"
    Path("tidegate.toml").write_text(f"[run]\n{options}\nstore_patience = '100ms'\nmetrics_port = 'none'\n")
    assert main([*line.split(), "s3://bucket/state"]) == 4
    shown = capsys.readouterr().err
    assert "s3://bucket/state" in shown
    assert "the store cannot be reached; check its endpoint and the network" in shown
    assert "Traceback" not in shown


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Also when nothing was said."""
    for arguments in (["--help"], []):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert all(f"  {name} " in shown for name in ("run", "replay", "explain", "savepoint", "stop"))


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """In plain text."""
    for name in ("run", "replay", "explain", "status", "savepoint", "stop"):
        assert main([name, "--help"]) == 0
        assert f"tidegate {name}" in capsys.readouterr().out


def test_explain_shows_the_plan_in_three_forms(capsys: pytest.CaptureFixture[str]) -> None:
    """Text, Mermaid, JSON."""
    assert main(["explain", "cli_app.py:topology"]) == 0
    assert "double" in capsys.readouterr().out
    assert main(["explain", "cli_app.py:topology", "--mermaid"]) == 0
    assert "double" in capsys.readouterr().out
    assert main(["explain", "cli_app.py:topology", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [o["operator_id"] for o in plan["chains"][0]["operators"]] == ["numbers", "double", "out"]


def test_a_run_tells_machines_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    """One object per line on stdout, and the metrics are served without being asked for."""
    assert main(["run", "cli_app.py:topology", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = {line["event"] for line in found}
    assert {"metrics_served", "job_running", "job_ended", "progress"} <= events


def test_a_file_in_the_folder_gives_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """`tidegate.toml` is taken without being named; a flag wins over it."""
    Path("tidegate.toml").write_text("[run]\nmetrics_port = 'none'\njob = 'from-file'\n")
    assert main(["run", "cli_app.py:topology", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "metrics_served" not in {line["event"] for line in found}
    assert found[-1]["job"] == "from-file"
    assert main(["run", "cli_app.py:topology", "--json", "--job", "from-flag"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["job"] == "from-flag"


def test_an_exception_in_user_code_ends_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, the operator and the record, and the line of the user's function."""
    assert main(["run", "cli_app.py:failing", "--no-live"]) == 1
    shown = capsys.readouterr().err
    assert "tidegate: operator 'double' failed on the record at 50" in shown
    assert "return 1 // (n - 50)" in shown
    assert "node.py" not in shown


def command(*arguments: str) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "tidegate.engine.cli.main", *arguments]


@pytest.mark.slow
def test_a_running_job_is_steered_and_stopped_from_another_process() -> None:
    """Status, a savepoint, then SIGTERM: a final checkpoint and exit code 0."""
    Path("endless.py").write_text(
        "from tidegate.connectors import memory\n"
        "from tidegate.engine import Topology\n"
        "topology = Topology('endless')\n"
        "channel = memory.channel()\n"
        "topology.source('in', channel).sink('out', memory.sink())\n"
    )
    line = command("run", "endless.py", "--checkpoints", "state", "--interval", "1h", "--json")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            for text in running.stdout:
                if json.loads(text)["event"] == "job_running":
                    break
            for arguments in (("status", "state", "--json"), ("savepoint", "take", "state", "s1", "--json")):
                done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                assert json.loads(done.stdout)["ok"] is True
            running.send_signal(signal.SIGTERM)
            out, err = running.communicate(timeout=20)
        finally:
            running.kill()
    assert running.returncode == 0, err
    assert '"stopped"' in out
    assert Path("state/endless/savepoints/s1/manifest.json").is_file()


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    """Neither the parser nor what draws, stores or compresses."""
    code = (
        "import sys; from tidegate.engine.cli.main import main; main(['--help'])\n"
        "heavy = {'typer', 'rich', 'rocksdict', 'obstore', 'prometheus_client', 'pyarrow', 'polars'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_ctrl_c_ends_any_command_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """With the exit code of the signal."""
    assert main(["explain", "cli_app.py:interrupted"]) == 130
    assert "Traceback" not in capsys.readouterr().err
