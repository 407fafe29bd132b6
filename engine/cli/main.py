"""The entry of the command line. Nothing but the chosen command is imported.

Exit codes: 0 done; 1 the job failed, something that was checked is damaged, or a comparison found a
difference; 2 a bad argument, configuration or topology; 3 fenced: another process runs this job; 4 the object store
does not answer; 130 and 143 cancelled by a second SIGINT or SIGTERM.
"""

from __future__ import annotations

import importlib
import importlib.util
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

_COMMANDS: Final = {
    "run": ("run", "app", "run a topology"),
    "replay": ("replay", "app", "run a topology again from a checkpoint, into other sinks, or compare versions"),
    "redrive": ("redrive", "app", "send the originals of dead letters through the topology again"),
    "explain": ("explain", "app", "show the plan of a topology"),
    "simulate": ("simulate", "app", "find out whether results stay the same, whatever dies"),
    "status": ("steer", "status_app", "show how a running job is"),
    "savepoint": ("savepoint", "app", "take savepoints, check whether a topology fits one, delete them"),
    "stop": ("steer", "stop_app", "stop a running job"),
    "checkpoints": ("checkpoints", "app", "list, show, verify and prune checkpoints"),
    "state": ("state", "app", "show, query and export the state in a checkpoint"),
    "bench": ("bench", "app", "measure on this machine"),
    "demo": ("demo", "app", "336,776 flights, killed once half way, compared with a batch query"),
}
_HELP: Final = ("-h", "--help", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and give its exit code.

    Raises:
        SystemExit: the command ends the process itself, with the code in it.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands = _commands()
    if not given or given[0] in _HELP:
        print(_help(commands))
        return 0
    if given[0] == "--version":
        from importlib.metadata import version

        print(version("tidegate"))
        return 0
    name, *rest = given
    if name not in commands:
        close = get_close_matches(name, commands, 1)
        advice = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(commands)}"
        print(f"tidegate: there is no command {name!r}: {advice}", file=sys.stderr)
        return 2
    return _run(name, rest)


def _run(name: str, arguments: list[str]) -> int:
    import typer.main

    module, attribute, _ = _COMMANDS[name]
    try:
        found = importlib.import_module(f".{module}", __package__)
        command: Any = typer.main.get_command(getattr(found, attribute))
        result = command.main(arguments, prog_name=f"tidegate {name}", standalone_mode=False)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            return 128 + signal.SIGINT
        # The parser's errors: which class they have depends on the version of typer, this method they all
        # have.
        describe = getattr(error, "format_message", None)
        if describe is not None:
            text = " ".join(describe().split())
            print(f"tidegate {name}: {text} See: tidegate {name} --help", file=sys.stderr)
            return 2
        from .output import report

        return report(error)
    return result if isinstance(result, int) else 0


def _commands() -> list[str]:
    """The commands whose module is installed."""
    return [name for name, (module, _, _) in _COMMANDS.items() if importlib.util.find_spec(f".{module}", __package__)]


def _help(commands: Sequence[str]) -> str:
    width = max(len(name) for name in commands)
    return "\n".join(
        [
            "Usage: tidegate COMMAND [ARGUMENTS]",
            "",
            "Streaming orchestration for Python: checkpointed operators, exactly-once recovery.",
            "",
            "Commands:",
            *(f"  {name:{width}}  {_COMMANDS[name][2]}" for name in commands),
            "",
            "tidegate COMMAND --help says more. --version prints the version.",
            "Exit codes: 0 done, 1 failed, 2 bad argument, configuration or topology, 3 another process runs",
            "the job, 4 the object store does not answer, 130/143 cancelled by a second SIGINT/SIGTERM.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
