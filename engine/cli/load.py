"""Finds the topology that a command line names.

app.py                  the one topology in the file, or the one that its only function without arguments
returns app.py:flights          a topology, or a function that returns one
package.module:flights  the same, of a module that can be imported from here
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import TidegateError, TopologyError
from .output import UsageError, where_raised

if TYPE_CHECKING:
    from ..topology import Topology


def load_topology(target: str) -> Topology:
    """The topology that `target` names.

    Raises:
        UsageError: there is no such file, module or name, it is not a topology, or its code raises; names
            which.
        TopologyError: the topology is wrong; passed on.
    """
    from ..topology import Topology

    module, name = load_target(target)
    if name is None:
        return _only_topology(module, target)
    found = find(module, name, target)
    if isinstance(found, Topology):
        return found
    if callable(found):
        made = _call(found, target)
        if isinstance(made, Topology):
            return made
        raise UsageError(f"{target}: the function returns {_kind(made)}, not a Topology")
    raise UsageError(f"{target}: is {_kind(found)}, not a Topology or a function that returns one")


def load_target(target: str) -> tuple[ModuleType, str | None]:
    """The module that a target names, imported, and the name after the colon.

    Raises:
        UsageError: it cannot be found or imported; names it and the reason.
    """
    place, colon, name = target.rpartition(":")
    if not colon:
        place, name = target, ""
    if colon and not name:
        raise UsageError(f"{target}: a name must follow the colon, as in {place}:topology")
    if place.endswith(".py") or "/" in place or Path(place).is_file():
        return _import_file(Path(place)), name or None
    if not name:
        raise UsageError(f"{target}: write FILE.py, FILE.py:NAME or MODULE:NAME")
    return _import_module(place), name


def find(module: ModuleType, name: str, target: str) -> Any:
    """The attribute `name` of a module, dots allowed.

    Raises:
        UsageError: there is none; names what comes close.
    """
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, [n for n in dir(found) if not n.startswith("_")], 1)
            raise UsageError(f"{target}: there is no {part!r}{f': did you mean {close[0]!r}?' if close else ''}")
        found = getattr(found, part)
    return found


def _only_topology(module: ModuleType, target: str) -> Topology:
    from ..topology import Topology

    names = {name: value for name, value in vars(module).items() if isinstance(value, Topology)}
    if len({id(value) for value in names.values()}) == 1:
        return next(iter(names.values()))
    if names:
        raise UsageError(f"{target}: has {len(names)} topologies: write {target}:NAME with one of {', '.join(names)}")
    made = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and _returns_topology(value)
    ]
    if len(made) == 1:
        return load_topology(f"{target}:{made[0]}")
    raise UsageError(
        f"{target}: has no topology at its top level: make one, or write {target}:FUNCTION that returns one"
    )


def _returns_topology(function: Any) -> bool:
    annotation = function.__annotations__.get("return")
    return getattr(annotation, "__name__", annotation) in ("Topology", "'Topology'")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{path}: {'is a directory, not a Python file' if path.is_dir() else 'there is no such file'}")
    path = path.resolve()
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    # A file named like a module that is loaded already must not take its place.
    name, number = path.stem, 1
    while (known := sys.modules.get(name)) is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        number += 1
        name = f"{path.stem}_{number}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _readable(error, str(path.name), path) from None
    return module


def _import_module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"{name}: there is no such module here; for a file write {name.replace('.', '/')}.py:NAME"
            ) from None
        raise _readable(error, name, None) from None
    except BaseException as error:
        raise _readable(error, name, None) from None


def _call(function: Any, target: str) -> Any:
    try:
        needed = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        needed = []
    if needed:
        raise UsageError(f"{target}: the function needs arguments ({', '.join(needed)}); it must work without any")
    try:
        return function()
    except BaseException as error:
        raise _readable(error, target, None) from None


def _readable(error: BaseException, where: str, file: Path | None) -> BaseException:
    """What to raise for an error of the user's module: one line, or the error itself where it says enough or
    must pass.
    """
    if isinstance(error, TopologyError | KeyboardInterrupt | UsageError):
        return error
    if isinstance(error, SystemExit):
        return UsageError(f"{where}: ends the process while it is imported; put that under if __name__ == '__main__'")
    if isinstance(error, TidegateError):
        return UsageError(f"{where}: {error}")
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return UsageError(f"{where}: {type(error).__name__} in {where_raised(error, file)}: {text}")


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
