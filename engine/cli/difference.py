"""The difference between two versions of a topology, for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..comparison.difference import OutputDifference
from ..comparison.replay_diff import ReplayDifference

_COLUMNS = ("sink", "old", "new", "equal", "added", "missing", "changed")
_WIDEST = 400


def difference_text(found: ReplayDifference) -> str:
    """A table of counts, and the first examples below it, old above new."""
    lines = [f"job {found.job}, from {found.start} to {found.end}", ""]
    rows = [_COLUMNS, *map(_row, found.outputs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    for output in found.outputs:
        lines += _examples(output)
    lines.append("")
    lines += [f"sink {name}: only the old version has it" for name in found.only_old]
    lines += [f"sink {name}: only the new version has it; not compared" for name in found.only_new]
    lines.append("equal" if found.same else "different")
    return "\n".join(lines)


def _row(output: OutputDifference) -> tuple[str, ...]:
    counts = (
        output.old_records,
        output.new_records,
        output.equal,
        output.added,
        output.missing,
        output.changed,
    )
    return (output.sink, *map(str, counts))


def _examples(output: OutputDifference) -> Iterator[str]:
    if output.changed_examples:
        yield ""
        yield f"{output.sink}: changed {_of(len(output.changed_examples), output.changed)}"
    for changed in output.changed_examples:
        if changed.fields:
            yield f"  {_shown(changed.key)}"
            for name in changed.fields:
                yield f"    {name}: {_field(changed.old, name)} → {_field(changed.new, name)}"
        else:
            yield f"  - {_shown(changed.old)}"
            yield f"  + {_shown(changed.new)}"
    for word, sign, count, examples in (
        ("missing", "-", output.missing, output.missing_examples),
        ("added", "+", output.added, output.added_examples),
    ):
        if examples:
            yield ""
            yield f"{output.sink}: {word} {_of(len(examples), count)}"
        for record in examples:
            yield f"  {sign} {_shown(record)}"


def _of(shown: int, count: int) -> str:
    return f"({shown} of {count})" if shown < count else f"({count})"


def _field(record: Any, name: str) -> str:
    return _shown(record[name]) if name in record else "(not there)"


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"
