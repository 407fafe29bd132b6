"""The options that several commands share, and the settings they make."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_type_hints

import typer

from ..config import RunConfig
from ..config_file import load_config
from .output import UsageError

Target: TypeAlias = Annotated[
    str, typer.Argument(metavar="TARGET", help="app.py, app.py:topology or package.module:topology")
]
ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration; tidegate.toml of this folder if there is one."),
]
Profile: TypeAlias = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Settings of [profile.NAME.run] on top of [run]."),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. --set retain=5; may be repeated."),
]
Checkpoints: TypeAlias = Annotated[
    str | None, typer.Option("--checkpoints", metavar="DIR", help="Directory or URL of the checkpoints.")
]
Parallelism: TypeAlias = Annotated[
    int | None, typer.Option("--parallelism", metavar="N", help="Subtasks per operator.")
]
JobName: TypeAlias = Annotated[
    str | None, typer.Option("--job", metavar="NAME", help="Name of the job; the topology's if not given.")
]
RestoreWhat: TypeAlias = Annotated[
    str | None,
    typer.Option("--restore", metavar="WHAT", help="latest, a checkpoint id, the name of a savepoint, or none."),
]
Rename: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--rename", metavar="OLD=NEW", help="What an operator, source or sink is called now; may be repeated."
    ),
]
JsonLines: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")]
NoLive: TypeAlias = Annotated[
    bool, typer.Option("--no-live", help="Log lines instead of a live table, also on a terminal.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON.")]

FILE_NAME = "tidegate.toml"


def new_app() -> typer.Typer:
    """A command's app: plain help, no traceback boxes."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def renames(given: list[str] | None) -> str | None:
    """What `--rename` says, as the setting `rename` takes it."""
    return ",".join(given) if given else None


def settings_from(
    file: Path | None,
    profile: str | None,
    settings: list[str] | None,
    flags: Mapping[str, Any],
    assumed: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The settings of a command: file < environment < `--set` < the command's own flags.

    Raises:
        ConfigError: one of them does not fit; names where it stands.
    """
    chosen: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: write KEY=VALUE")
        chosen[name.strip().replace("-", "_")] = value.strip()
    chosen |= {name: value for name, value in flags.items() if value is not None}
    if file is None and Path(FILE_NAME).is_file():
        file = Path(FILE_NAME)
    return load_config(file, profile, os.environ, chosen, assumed)


@dataclass(frozen=True)
class JobOptions:
    """The options of every command that runs a topology; a command takes them with `takes_job_options`."""

    config: ConfigFile = None
    profile: Profile = None
    settings: Settings = None
    checkpoints: Checkpoints = None
    parallelism: Parallelism = None
    job: JobName = None
    rename: Rename = None
    json: JsonLines = False
    no_live: NoLive = False

    def run_config(self, flags: Mapping[str, Any], assumed: Mapping[str, Any] | None = None) -> RunConfig:
        """The settings of the run, the command's own `flags` on top.

        Raises:
            ConfigError: one of them does not fit; names where it stands.
        """
        own = {
            "checkpoints": self.checkpoints,
            "parallelism": self.parallelism,
            "job": self.job,
            "rename": renames(self.rename),
        }
        return settings_from(self.config, self.profile, self.settings, own | dict(flags), assumed)


def takes_job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose keyword parameter `options` is a `JobOptions`, as one with an option for each of its fields: what
    typer reads is the signature."""
    hints = get_type_hints(JobOptions, include_extras=True)
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "options"]
    shared = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(JobOptions)
    ]

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        options = JobOptions(**{parameter.name: kwargs.pop(parameter.name) for parameter in shared})
        return command(*args, **kwargs, options=options)

    run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]  # functions may have it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
    return run
