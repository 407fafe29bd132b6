"""What the reference says of every operator: its arguments and their defaults, its cost, its state, an example that runs.

An entry is the part of a page of `docs/reference` under one heading. It begins with the signature, `stream.map(function,
on_error="fail")`, where the word before the dot stands for the class. `name` is explained once for all.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import tidegate.operators
from tidegate.engine import ConnectedStreams, KeyedStream, OverStream, Stream, Table, Topology, WindowedStream
from tidegate.engine.fluent.joins import KeyedJoins
from tidegate.engine.fluent.lookups import Lookups
from tidegate.operators import AsyncOperator, CircuitBreaker, MultiInputOperator, Operator, Retry, Watermarks

ROOT = Path(__file__).parents[1]
FACES = {
    "topology": (Topology,),
    "stream": (Stream, Lookups),
    "keyed": (KeyedStream, KeyedJoins),
    "over": (OverStream,),
    "windowed": (WindowedStream,),
    "table": (Table,),
    "connected": (ConnectedStreams,),
}
METHODS = [
    (face, method)
    for face, classes in FACES.items()
    for cls in classes
    for method, value in vars(cls).items()
    if inspect.isfunction(value) and not method.startswith("_") and (face != "topology" or method == "source")
]

HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
SIGNATURE = re.compile(r"^`(\w+)\.(\w+)(\(.*\))`$", re.MULTILINE)
SETTINGS = re.compile(r"^`(\w+)(\(.*\))`$", re.MULTILINE)
FACT = re.compile(r"^\| (Cost per record|State|Kept until|Side outputs) \| (.+) \|$", re.MULTILINE)
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass
class Entry:
    """What a page says of a method."""

    signature: str
    facts: dict[str, str]
    examples: str


def _outside_of_examples(text: str) -> str:
    """The text with as many blanks where programs stand, whose comments look like headings."""
    return EXAMPLE.sub(lambda found: " " * len(found[0]), text)


def _entries() -> Iterator[tuple[tuple[str, str], Entry]]:
    for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
        text = page.read_text()
        starts = [found.start() for found in HEADING.finditer(_outside_of_examples(text))]
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            section = text[start:end]
            for face, method, signature in SIGNATURE.findall(section):
                examples = "\n".join(EXAMPLE.findall(section))
                yield (face, method), Entry(signature, dict(FACT.findall(section)), examples)


ENTRIES = dict(_entries())


def _wanted(face: str, method: str) -> dict[str, Any]:
    """The arguments of a method with their defaults; Ellipsis where there is none, or only the operator knows it."""
    function = next(vars(cls)[method] for cls in FACES[face] if method in vars(cls))
    wanted: dict[str, Any] = {}
    for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
        if name == "options":
            hint = get_type_hints(function, localns={"KeyedStream": KeyedStream, "Stream": Stream, "Table": Table})[
                name
            ]
            wanted.update(dict.fromkeys(get_type_hints(get_args(hint)[0]), ...))
        elif parameter.kind is parameter.VAR_POSITIONAL:
            wanted[f"*{name}"] = ...
        elif parameter.kind is parameter.VAR_KEYWORD:
            wanted[f"**{name}"] = ...
        else:
            wanted[name] = ... if parameter.default is parameter.empty else parameter.default
    if method not in ("source", "sink"):
        wanted.pop("name", None)
    return wanted


def _written(signature: str) -> dict[str, Any]:
    """The same as the page has it."""
    call = ast.parse(f"f{signature.replace('…', '...')}", mode="eval").body
    assert isinstance(call, ast.Call)
    written: dict[str, Any] = {ast.unparse(argument): ... for argument in call.args}
    for keyword in call.keywords:
        written[keyword.arg or f"**{ast.unparse(keyword.value)}"] = (
            ... if keyword.arg is None else ast.literal_eval(keyword.value)
        )
    return written


@pytest.mark.parametrize(("face", "method"), METHODS, ids=str)
def test_the_reference_has_an_entry_for_every_method(face, method):
    """With all its arguments and their defaults, cost, state, when it goes, side outputs, and an example that uses it."""
    assert (face, method) in ENTRIES, f"docs/reference has no entry that begins with `{face}.{method}(…)`"
    entry = ENTRIES[face, method]
    wanted, written = _wanted(face, method), _written(entry.signature)
    assert set(written) == set(wanted)
    assert {name: value for name, value in written.items() if wanted[name] is not ...} == {
        name: value for name, value in wanted.items() if value is not ...
    }
    missing = {"Cost per record", "State", "Side outputs"} - set(entry.facts)
    assert not missing
    assert entry.facts["State"] == "none" or "Kept until" in entry.facts
    assert re.search(rf"\.{method}\(", entry.examples)


def test_the_reference_has_no_entry_for_what_is_not_there():
    """A method that was renamed or taken away takes its entry with it."""
    assert sorted(set(ENTRIES) - set(METHODS)) == []


@pytest.mark.parametrize("settings", [CircuitBreaker, Retry, Watermarks], ids=lambda cls: cls.__name__)
def test_the_reference_has_all_settings_with_their_defaults(settings):
    """Of the objects that methods take; `…` stands for a default that is no plain value."""
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    written = {name: _written(signature) for page in pages for name, signature in SETTINGS.findall(page.read_text())}
    defaults = {name: parameter.default for name, parameter in inspect.signature(settings).parameters.items()}
    found = written[settings.__name__]
    assert {name: defaults[name] if value is ... else value for name, value in found.items()} == defaults


def _operators(cls: type = Operator) -> Iterator[type]:
    for child in cls.__subclasses__():
        if child.__module__.startswith(f"{tidegate.operators.__name__}."):
            yield child
            yield from _operators(child)


@pytest.mark.parametrize(
    "operator", sorted(set(_operators()) - {AsyncOperator, MultiInputOperator}, key=str), ids=lambda cls: cls.__name__
)
def test_every_operator_says_what_a_record_costs_and_what_it_keeps(operator):
    """In its docstring, or it says whose it shares."""
    said = inspect.getdoc(operator) or ""
    assert re.search(r"\b[Cc]osts?\b", said)
    assert re.search(r"\b(State|No state)\b", said)
