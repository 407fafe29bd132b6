"""Inner loops written for the aggregates and fields they work on, and the plain functions that say the same.

A loop is a template of an operator with lines left open: `@update` stands for "take this record into `acc`".
Here those lines are written: each field is read once, each slot is updated in place, nothing is called that
need not be. With `inline=False` the same template calls plain functions instead; tests hold the two against
each other.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any
from zlib import crc32

from .layout import Layout, PlacedPart

_HOLE = re.compile(r"\$(o?)(\d+|x|t|p)")


class Code:
    """The functions of one operator.

    Always there: `new()`, `add(acc, value, t)`, `merge(acc, other)`, `copy(acc)`, `result(acc, *bounds)`, and
    `results(entries, *bounds)` for a dict of key → accumulator, where the first of the bounds is the key; and for whole
    dicts `merge_all(totals, entries)`, `put_before(ending, entries, without)` and `joined(ending, beginning)`: see
    `Merging`. Where the layout is subtractable also `subtract_all(totals, entries)`, which undoes `merge_all`.

    Args:
        layout: the accumulator.
        template: source of the operator's own functions. A line `@update` becomes the lines that take the
            record `value` with the timestamp `t` into `acc`, `@emit` a call of `emit` with the result of
            `acc`, `@fresh` what puts an `acc` that has taken in nothing into `pane[key]`; another line `@name`
            becomes `lines[name]`.
        lines: name → lines of source.
        bounds: the arguments of `result` after the accumulator; they are the fields of a result before the
            aggregates.
        functions: what `lines` call besides, by name.
        mapping: records are dicts: their fields are entries.
        inline: whether updates are written out, or call the plain functions.
    """

    def __init__(
        self,
        layout: Layout,
        template: str,
        *,
        bounds: Sequence[str] = ("key",),
        lines: Mapping[str, Sequence[str]] | None = None,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        mapping: bool = False,
        inline: bool = True,
    ) -> None:
        written = _inlined(layout, mapping) if inline else _PLAIN
        shown = _shown(layout) if inline else "*plain_finish(acc)"
        holes: dict[str, Sequence[str]] = {**written}
        holes["emit"] = [f"emit(Result({', '.join(bounds)}, {shown}))"]
        holes["new"] = [f"return {_fresh(layout)}"]
        holes["fresh"] = [f"acc = pane[key] = {_fresh(layout)}"]
        holes["result"] = [f"return Result({', '.join(bounds)}, {shown})"]
        holes["results"] = [
            "return [",
            f"    Result({', '.join(bounds)}, {shown})",
            f"    for {bounds[0]}, acc in entries.items()",
            "]",
        ]
        holes["drop_empty"] = [f"if not acc.{layout.count_slot}:", "    del totals[key]"]
        holes.update(lines or {})
        functions_of_all = _FUNCTIONS + (_SUBTRACTION if layout.subtractable else "")
        common = functions_of_all.replace("ALL_BOUNDS", ", ".join(bounds))
        common = common.replace("BOUNDS", ", ".join(["entries", *bounds[1:]]))
        self.source = _filled_in(common + template, holes)
        self._functions = self._compiled(layout, functions or {}, mapping)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = self._functions[name]
        return function

    def _compiled(self, layout: Layout, functions: Mapping[str, Callable[..., Any]], mapping: bool) -> dict[str, Any]:
        namespace: dict[str, Any] = {
            "Accumulator": layout.accumulator,
            "Result": layout.result,
            **plain_functions(layout, mapping),
            **functions,
        }
        for number, condition in enumerate(layout.fields()):
            namespace[f"holds{number}"] = condition
        for number, field in enumerate(_fields(layout)):
            if callable(field):
                namespace[f"read{number}"] = field
        for placed in layout.parts:
            for name, function in placed.part.functions.items():
                namespace[name.replace("$p", placed.prefix)] = function
        for shown in layout.aggregates:
            for name, function in shown.aggregate.functions.items():
                namespace[name.replace("$p", shown.prefix)] = function
        # Under a file name of its own a traceback shows the generated line.
        name = f"<generated {crc32(self.source.encode()):08x}>"
        linecache.cache[name] = (len(self.source), None, self.source.splitlines(keepends=True), name)
        exec(compile(self.source, name, "exec"), namespace)
        return namespace


class Variants:
    """The code of one operator for records of either kind, each written when it is first needed."""

    def __init__(self, write: Callable[[bool], Code]) -> None:
        self._write = write
        self._codes: dict[bool, Code] = {}

    def of(self, values: Sequence[Any]) -> Code:
        """The code for these records: dicts have entries, everything else attributes."""
        return self[isinstance(values[0], dict)]

    def __getitem__(self, mapping: bool) -> Code:
        code = self._codes.get(mapping)
        if code is None:
            code = self._codes[mapping] = self._write(mapping)
        return code


def plain_functions(layout: Layout, mapping: bool) -> dict[str, Callable[..., Any]]:
    """The plain twins of the generated functions: slow and readable, the oracle of the tests."""

    def slots_of(placed: PlacedPart, acc: Any) -> list[Any]:
        return [getattr(acc, name) for name in placed.slots]

    def keep(placed: PlacedPart, acc: Any, slots: list[Any]) -> None:
        for name, slot in zip(placed.slots, slots, strict=True):
            setattr(acc, name, slot)

    def add(acc: Any, value: Any, t: int) -> None:
        for placed in layout.parts:
            if placed.condition is not None and not placed.condition(value):
                continue
            x = None if placed.part.every_record else read_field(placed.field, value, mapping)
            if x is not None or placed.part.every_record:
                slots = slots_of(placed, acc)
                placed.part.add(slots, x, t)
                keep(placed, acc, slots)

    def merge(acc: Any, other: Any) -> None:
        for placed in layout.parts:
            slots = slots_of(placed, acc)
            placed.part.merge(slots, slots_of(placed, other))
            keep(placed, acc, slots)

    def subtract(acc: Any, other: Any) -> None:
        for placed in layout.parts:
            assert placed.part.subtract is not None
            slots = slots_of(placed, acc)
            placed.part.subtract(slots, slots_of(placed, other))
            keep(placed, acc, slots)

    def copy(acc: Any) -> Any:
        fresh = layout.accumulator(
            *[getattr(acc, name) for name in layout.marks],
            *[slot for placed in layout.parts for slot in placed.part.empty()],
        )
        merge(fresh, acc)
        return fresh

    def finish(acc: Any) -> list[Any]:
        return [placed.aggregate.finish(*[getattr(acc, name) for name in placed.slots]) for placed in layout.aggregates]

    return {
        "plain_add": add,
        "plain_merge": merge,
        "plain_subtract": subtract,
        "plain_copy": copy,
        "plain_finish": finish,
    }


def read_field(field: Any, value: Any, mapping: bool) -> Any:
    """What a field says of a record: the value itself, an attribute or entry (`"a.b"` reads through), or a
    callable's result."""
    if field is None:
        return value
    if callable(field):
        return field(value)
    return reduce((lambda v, name: v[name]) if mapping else getattr, field.split("."), value)


def field_source(field: str, mapping: bool) -> str:
    """The source that reads a named field of the record `value`."""
    source = "value"
    for name in field.split("."):
        if mapping:
            source = f"{source}[{name!r}]"
        elif name.isidentifier():
            source = f"{source}.{name}"
        else:
            source = f"getattr({source}, {name!r})"
    return source


_FUNCTIONS = """\
def new():
    @new


def add(acc, value, t):
    @update


def merge(acc, other):
    @merge


def copy(acc):
    @copy


def result(acc, ALL_BOUNDS):
    @result


def results(BOUNDS):
    @results


def merge_all(totals, entries):
    get = totals.get
    for key, other in entries.items():
        acc = get(key)
        if acc is None:
            @copy_other
        else:
            @merge


def put_before(ending, entries, without):
    get = ending.get
    for key, acc in entries.items():
        other = without[key] = get(key)
        if other is not None:
            @copy_acc
            @merge
        ending[key] = acc


def joined(ending, beginning):
    whole = dict(ending)
    get = ending.get
    for key, other in beginning.items():
        acc = get(key)
        if acc is None:
            whole[key] = other
        else:
            @copy_acc
            @merge
            whole[key] = acc
    return whole


"""

_SUBTRACTION = """\
def subtract_all(totals, entries):
    for key, other in entries.items():
        acc = totals[key]
        @subtract
        @drop_empty


"""

_PLAIN: dict[str, Sequence[str]] = {
    "update": ["plain_add(acc, value, t)"],
    "merge": ["plain_merge(acc, other)"],
    "copy": ["return plain_copy(acc)"],
    "copy_acc": ["acc = plain_copy(acc)"],
    "copy_other": ["totals[key] = plain_copy(other)"],
    "subtract": ["plain_subtract(acc, other)"],
}


def _inlined(layout: Layout, mapping: bool) -> dict[str, Sequence[str]]:
    numbers = {field: number for number, field in enumerate(_fields(layout))}
    update: list[str] = []
    for number, (condition, fields) in enumerate(layout.fields().items()):
        taken_in: list[str] = []
        for field, parts in fields.items():
            taken_in += _field_update(layout, field, f"{numbers[field]}", parts, mapping)
        if condition is None:
            update += taken_in
        else:
            update += [f"if holds{number}(value):", *(f"    {line}" for line in taken_in)]
    merged = [_written(line, placed.prefix, placed.slots) for placed in layout.parts for line in placed.part.merge_code]
    subtracted = [
        _written(line, placed.prefix, placed.slots) for placed in layout.parts for line in placed.part.subtract_code
    ]
    return {
        "update": update,
        "merge": merged,
        "subtract": subtracted,
        "copy": [f"return {_copied(layout, 'acc')}"],
        "copy_acc": [f"acc = {_copied(layout, 'acc')}"],
        "copy_other": [f"totals[key] = {_copied(layout, 'other')}"],
    }


def _copied(layout: Layout, name: str) -> str:
    """The source of an independent copy of the accumulator of a name, `acc` or `other`."""
    hole = "$o" if name == "other" else "$"
    copied = [f"{name}.{mark}" for mark in layout.marks]
    for placed in layout.parts:
        for slot_name, slot in zip(placed.slots, placed.part.slots, strict=True):
            copied.append(_written(slot.copy.replace("$0", f"{hole}0"), placed.prefix, (slot_name,)))
    return f"Accumulator({', '.join(copied)})"


def _fields(layout: Layout) -> list[Any]:
    """The different fields that are read, in order."""
    return list(dict.fromkeys(field for fields in layout.fields().values() for field in fields))


def _field_update(layout: Layout, field: Any, number: str, parts: Sequence[PlacedPart], mapping: bool) -> list[str]:
    """The lines that read a field and take it into its parts."""
    variable = "value" if field is None else f"x{number}"
    added = [_written(line, placed.prefix, placed.slots, variable) for placed in parts for line in placed.part.add_code]
    if field is ...:
        return added
    read: list[str] = []
    if callable(field):
        read = [f"{variable} = read{number}(value)"]
    elif field is not None:
        read = [f"{variable} = {field_source(field, mapping)}"]
    if layout.never_none(field):
        return read + added
    return [*read, f"if {variable} is not None:", *(f"    {line}" for line in added)]


def _fresh(layout: Layout) -> str:
    """The source that makes an accumulator which has taken in nothing."""
    empty = [first for _, first in layout.marks.values()]
    for placed in layout.parts:
        empty += [_written(slot.empty, placed.prefix, ()) for slot in placed.part.slots]
    return f"Accumulator({', '.join(empty)})"


def _shown(layout: Layout) -> str:
    shown = []
    for placed in layout.aggregates:
        source = _written(placed.aggregate.finish_code, placed.prefix, placed.slots)
        shown.append(f"({source})" if " if " in source else source)
    return ", ".join(shown)


def _written(line: str, prefix: str, slots: Sequence[str], variable: str = "value") -> str:
    def hole(match: re.Match[str]) -> str:
        other, what = match.groups()
        if what == "x":
            return variable
        if what in ("t", "p"):
            return "t" if what == "t" else prefix
        return f"{'other' if other else 'acc'}.{slots[int(what)]}"

    return _HOLE.sub(hole, line)


def _filled_in(template: str, holes: Mapping[str, Iterable[str]]) -> str:
    lines = []
    for line in template.splitlines():
        bare = line.lstrip()
        if bare.startswith("@"):
            indent = line[: len(line) - len(bare)]
            lines += [indent + part for part in holes[bare[1:]]]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"
