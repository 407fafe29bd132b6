"""Finding the topology that a command line names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tidegate.engine.cli.load import load_topology
from tidegate.engine.cli.output import UsageError
from tidegate.engine.errors import TopologyError

ONE = 'from tidegate.engine import Topology\nflights = Topology("flights")\n'


@pytest.fixture(autouse=True)
def _clean_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in a folder of its own, and forget what was imported from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(name: str, text: str) -> None:
    """A file in the current folder."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


@pytest.mark.parametrize("target", ["app_1.py", "app_1.py:flights", "app_1:flights", "./app_1.py:flights"])
def test_a_topology_is_found_by_file_or_module(target: str) -> None:
    """A file with one topology needs no name."""
    write("app_1.py", ONE + "same = flights\n")
    assert load_topology(target).name == "flights"


def test_a_function_may_return_the_topology() -> None:
    """Named, or the only one that says so."""
    write("app_2.py", 'from tidegate.engine import Topology\ndef make() -> Topology:\n    return Topology("made")\n')
    assert load_topology("app_2.py:make").name == "made"
    assert load_topology("app_2.py").name == "made"


def test_a_module_in_a_package_can_be_named() -> None:
    """Dots lead to it."""
    write("pack_3/__init__.py", "")
    write("pack_3/app.py", ONE)
    assert load_topology("pack_3.app:flights").name == "flights"


def test_a_file_named_like_a_loaded_module_does_not_take_its_place() -> None:
    """`json.py` is a fine name for a topology."""
    import json

    write("json.py", ONE)
    assert load_topology("json.py").name == "flights"
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("target", "text", "message"),
    [
        ("missing.py", None, "missing.py: there is no such file"),
        ("missing_module:x", None, "there is no such module here"),
        ("words", None, "write FILE.py, FILE.py:NAME or MODULE:NAME"),
        ("app_4.py:", ONE, "a name must follow the colon"),
        ("app_5.py:flihgts", ONE, "there is no 'flihgts': did you mean 'flights'"),
        ("app_6.py", "x = 1\n", "has no topology at its top level"),
        ("app_7.py", ONE + 'more = Topology("b")\n', "has 2 topologies: write app_7.py:NAME with one of flights"),
        ("app_8.py:x", "x = 1\n", "is a int, not a Topology"),
        ("app_9.py:f", "def f(): return 1\n", "the function returns a int, not a Topology"),
        ("app_10.py:f", "def f(a, b=1): ...\n", r"needs arguments \(a\)"),
        ("app_11.py", "\nx = nope\n", r"NameError in app_11.py line 2: name 'nope'"),
        ("app_12.py", "def :\n", r"SyntaxError in app_12.py line 1"),
        ("app_13.py", "import nowhere_at_all\n", r"ModuleNotFoundError in app_13.py line 1"),
        ("app_14.py", "raise SystemExit(3)\n", "put that under if __name__"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_one_line(target: str, text: str | None, message: str) -> None:
    """With the place, and what to write instead."""
    if text is not None:
        write(target.split(":", maxsplit=1)[0], text)
    with pytest.raises(UsageError, match=message) as refused:
        load_topology(target)
    assert "\n" not in str(refused.value)


def test_a_wrong_topology_says_itself_what_is_wrong() -> None:
    """Its own error is passed on."""
    write("app_15.py", 'from tidegate.engine import Topology\nt = Topology("a/b")\n')
    with pytest.raises(TopologyError, match="a/b"):
        load_topology("app_15.py")
