"""What the demo shows: for people on a terminal or in a log, or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from .comparison import WHAT, Comparison
from .worker import Run

_PLAIN_STEPS: Final = 10


class Screen(Protocol):
    """Shows a demo."""

    def say(self, text: str) -> None:
        """A step, in a sentence."""
        ...

    def tell(self, name: str, facts: dict[str, Any]) -> None:
        """Something happened to the worker; see `run_worker`."""
        ...

    def result(self, run: Run, comparisons: Sequence[Comparison], seconds: float, advice: Sequence[str]) -> None:
        """The end: what was compared, and how to look further."""
        ...


class TextScreen:
    """Sentences and a table, with a moving line between them on a terminal. Starts no thread.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} flights · {task.fields[facts]}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._line: TaskID | None = None
        self._step = 0

    def say(self, text: str) -> None:
        self._stop()
        self._console.print(text, highlight=False)

    def tell(self, name: str, facts: dict[str, Any]) -> None:
        run: Run = facts["run"]
        if name == "running":
            after = "" if run.restored_from is None else f", restored from checkpoint {run.restored_from}"
            self.say(
                f"  worker {facts['pid']} runs the job, attempt {run.attempt}{after}: {run.read:,} flights are done"
            )
        elif name == "killed":
            self.say(
                f"  [bold red]kill -9[/] of worker {facts['pid']} after {run.read:,} flights and "
                f"{len(run.checkpoints)} checkpoints"
            )
        else:
            self._show(run)

    def result(self, run: Run, comparisons: Sequence[Comparison], seconds: float, advice: Sequence[str]) -> None:
        self._stop()
        table = Table(title="the job's results beside a batch query (Polars), row for row")
        for heading in ("results", "what", "rows", "batch", "differ", "equal"):
            text = heading in ("results", "what", "equal")
            table.add_column(heading, justify="left" if text else "right", no_wrap=True)
        for one in comparisons:
            table.add_row(
                one.name,
                WHAT[one.name],
                f"{one.rows:,}",
                f"{one.expected_rows:,}",
                f"{one.missing + one.unexpected:,}",
                "[green]yes[/]" if one.equal else "[bold red]no[/]",
            )
        self._console.print(table)
        for one in comparisons:
            for example in one.examples:
                self._console.print(f"  {one.name}: {example}", markup=False)
        late = f"{run.late:,} late records" if run.late else "no late record"
        verdict = "all rows are equal" if all(c.equal for c in comparisons) else "there are differences"
        self._console.print(
            f"{sum(c.rows for c in comparisons):,} rows compared, {verdict}; {len(run.checkpoints)} checkpoints, {late}, "
            f"{seconds:.0f} s in all",
            highlight=False,
        )
        for line in advice:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _show(self, run: Run) -> None:
        facts = f"{len(run.checkpoints)} checkpoints · {run.written:,} results"
        if not self._console.is_terminal:
            step = run.read * _PLAIN_STEPS // run.flights
            if step > self._step:
                self._console.print(f"  {run.read:,} of {run.flights:,} flights · {facts}", highlight=False)
            self._step = step
            return
        if self._line is None:
            self._line = self._progress.add_task("reading", total=run.flights, facts=facts)
            self._progress.start()
        self._progress.update(self._line, completed=run.read, facts=facts)
        self._progress.refresh()

    def _stop(self) -> None:
        if self._line is not None:
            self._progress.stop()
            self._progress.remove_task(self._line)
            self._line = None


class JsonScreen:
    """One JSON object per line, the last one `{"event": "result", "equal": …}`.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        self._write("step", {"text": text})

    def tell(self, name: str, facts: dict[str, Any]) -> None:
        run: Run = facts["run"]
        self._write(
            name,
            {
                "pid": facts["pid"],
                "attempt": run.attempt,
                "restored_from": run.restored_from,
                "read": run.read,
                "flights": run.flights,
                "results": run.written,
                "checkpoints": len(run.checkpoints),
            },
        )

    def result(self, run: Run, comparisons: Sequence[Comparison], seconds: float, advice: Sequence[str]) -> None:
        self._write(
            "result",
            {
                "equal": all(c.equal for c in comparisons),
                "seconds": round(seconds, 1),
                "killed": run.killed,
                "restored_from": run.restored_from,
                "checkpoints": len(run.checkpoints),
                "late": run.late,
                "compared": [
                    {
                        "name": c.name,
                        "what": WHAT[c.name],
                        "rows": c.rows,
                        "expected_rows": c.expected_rows,
                        "missing": c.missing,
                        "unexpected": c.unexpected,
                        "examples": list(c.examples),
                        "equal": c.equal,
                    }
                    for c in comparisons
                ],
            },
        )

    def _write(self, event: str, facts: dict[str, Any]) -> None:
        self._stream.write(json.dumps({"event": event, **facts}, ensure_ascii=False) + "\n")
        self._stream.flush()
