"""The storage as one process sees it: slow, sometimes refusing, sometimes not answering."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from .blocking import pause

if TYPE_CHECKING:
    from .process import Process

_WRITES: Final = frozenset({"put", "delete", "copy", "rename"})

_MANIFEST: Final = "/manifest.json"


class StorageAwayError(Exception):
    """What the storage answers when it refuses."""


class SimulatedStore:
    """An obstore store, shared by all processes of a world, with the weather between. Every call is a point at which the
    process may die, before and after."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._objects = process.world.objects

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._objects, name)

        def call(*args: Any, **settings: Any) -> Any:
            return self._call(name, method, args, settings)

        return call

    def _call(self, name: str, method: Callable[..., Any], args: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        process, world = self._process, self._process.world
        what = f"storage {name} {args[0] if args else ''}"
        was_dead = process.dead
        try:
            process.reach(what)
        except BaseException:
            if not was_dead and name == "put" and world.weather.torn and world.happens(0.5):
                self._tear(*args)
            raise
        pause(world.call_delay())
        if process.dead:
            process.reach(what)
        if world.happens(world.weather.refused):
            world.tell(process, f"{what}: refused")
            raise StorageAwayError(f"the storage refuses: {name}")
        found = method(*args, **settings)
        if name == "list":
            found = [[dict(entry) for entry in page] for page in found]
        pause(world.call_delay())
        process.reach(f"{what}: done")
        if name in _WRITES and world.happens(world.weather.unanswered):
            world.tell(process, f"{what}: not answered")
            raise StorageAwayError(f"the storage does not answer: {name}")
        return found

    def _tear(self, path: str, content: Any, *_rest: Any) -> None:
        """The process died in the middle of a write: half of it is there. What was whole before stays so."""
        there = [entry["path"] for page in self._objects.list() for entry in page]
        if path in there or (path.endswith(_MANIFEST) and not any(other.endswith(_MANIFEST) for other in there)):
            # The only manifest that is damaged: a person has to look at it.
            return
        data = content if isinstance(content, bytes) else content.read_bytes()
        self._process.world.tell(self._process, f"leaves half of {path}")
        self._objects.put(path, data[: len(data) // 2])
