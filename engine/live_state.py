"""Reading the state of a running job from the program around it.

A read sees the state of a subtask as of the last batch that it has worked through: reads happen on the event loop, between
batches, so a value is never half changed. What is given out is a copy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from ..operators.state import BroadcastState, LocalListState, MapState, StateDescriptor, WindowTableState
from .errors import JobError, StateError
from .plan import Plan
from .state.backend import OperatorStore
from .state.key_groups import encode_key, key_group, subtask_of
from .topology import Node

if TYPE_CHECKING:
    from .state.layout import BoundTables, StateLayout

K = TypeVar("K")
V = TypeVar("V")


class StoresOf(Protocol):
    """Gives the store of an operator in a subtask of a running job.

    Raises:
        JobError: the job does not run.
    """

    def __call__(self, operator_id: str, subtask: int) -> OperatorStore: ...


class LiveState:
    """A state of an operator of a running job: where its tables are, and how values leave them. Made by `Job.state`."""

    def __init__(self, plan: Plan, node: Node, descriptor: StateDescriptor[Any], stores: StoresOf) -> None:
        self._node = node
        self._name = descriptor.name
        self._stores = stores
        self._max_parallelism = plan.max_parallelism
        self._parallelism = plan.chain_of(node).parallelism

    def _table(self, subtask: int) -> tuple[Any, StateLayout, int]:
        """The table in a subtask, its layout, and the time by which values expire."""
        bound = cast("BoundTables", self._stores(self._node.name, subtask).tables)
        return bound.table(self._name), bound.layouts[self._name], bound.now_ms()

    def _subtasks_of(self, key: Any) -> range:
        """The subtasks that may hold a key: the one that owns its key group."""
        operator = self._node.operator
        if self._parallelism == 1 or (operator is not None and not operator.keyed):
            return range(self._parallelism)
        owner = subtask_of(key_group(encode_key(key), self._max_parallelism), self._parallelism, self._max_parallelism)
        return range(owner, owner + 1)

    def _read(self, key: Any, get: Callable[[Any], Any]) -> Any:
        """A copy of what `get` finds in the table that holds a key; None where there is nothing."""
        for subtask in self._subtasks_of(key):
            table, layout, now_ms = self._table(subtask)
            layout.keys.check(key)
            stored = get(table)
            if stored is not None and not _expired(layout, stored, now_ms):
                return _value(layout, layout.values.decode(layout.values.encode(stored)))
        return None

    async def _all(self, entries: Callable[[Any], Iterator[tuple[Any, Any]]]) -> AsyncIterator[tuple[Any, Any]]:
        """(place, copy of the value) of all entries, subtask by subtask, each as of one moment."""
        for subtask in range(self._parallelism):
            table, layout, now_ms = self._table(subtask)
            held = [(place, stored) for place, stored in entries(table) if not _expired(layout, stored, now_ms)]
            # Bytes from here on: the stored objects may change as soon as somebody else runs.
            copies = layout.values.encode_many([stored for _, stored in held])
            places = [place for place, _ in held]
            del held
            for place, data in zip(places, copies, strict=True):
                yield place, _value(layout, layout.values.decode(data))


class LiveValues(LiveState, Generic[V]):
    """One value per key: of a `ValueState`, `ReducingState`, `ListState` (the list) or `KeyedTableState`."""

    async def get(self, key: Any) -> V | None:
        """The value of a key; None when there is none.

        Raises:
            StateError: it cannot be a key of the operator.
            JobError: the job does not run.
        """
        value: V | None = self._read(key, lambda table: table.get(key))
        return value

    async def items(self) -> AsyncIterator[tuple[Any, V]]:
        """All keys and values, in no order: subtask by subtask, each as of one moment, at which it stands still while its
        values are copied into memory.

        Raises:
            JobError: the job does not run.
        """
        async for entry in self._all(lambda table: table.items()):
            yield entry


class LiveMaps(LiveState, Generic[K, V]):
    """A map per key: of a `MapState`."""

    async def get(self, key: Any) -> dict[K, V]:
        """The map of a key; empty when there is none. Errors as `LiveValues.get`."""
        found: dict[K, V] = {}
        for subtask in self._subtasks_of(key):
            table, layout, now_ms = self._table(subtask)
            layout.keys.check(key)
            for map_key, stored in table.items(key):
                if not _expired(layout, stored, now_ms):
                    found[map_key] = _value(layout, layout.values.decode(layout.values.encode(stored)))
        return found

    async def get_entry(self, key: Any, map_key: K) -> V | None:
        """One entry of the map of a key; None when there is none. Errors as `LiveValues.get`."""
        value: V | None = self._read(key, lambda table: table.get(key, map_key))
        return value

    async def items(self) -> AsyncIterator[tuple[tuple[Any, K], V]]:
        """All ((key, map key), value), in no order: key by key, the map of each as of one moment, and only that is copied into
        memory. Between two keys the job may go on: a key that is there all the while comes once, one that comes or goes
        meanwhile may be missing.

        Raises:
            JobError: the job does not run, or has restarted meanwhile.
        """
        for subtask in range(self._parallelism):
            first, layout, _ = self._table(subtask)
            keys = first.keys()
            while (key := next(keys, _END)) is not _END:
                now_ms = self._table(subtask)[2]
                held = [(at, stored) for at, stored in first.items(key) if not _expired(layout, stored, now_ms)]
                copies = layout.values.encode_many([stored for _, stored in held])
                for (map_key, _), data in zip(held, copies, strict=True):
                    yield (key, map_key), _value(layout, layout.values.decode(data))
                if self._table(subtask)[0] is not first:
                    raise JobError("the job has restarted while its state was read: read it again")


_END: Any = object()


class LiveWindows(LiveState, Generic[V]):
    """A value per window and key: of a `WindowTableState`. A window goes by a number in order of time, its end for most."""

    async def get(self, key: Any, window: int) -> V | None:
        """The value of a key in a window; None when there is none. Errors as `LiveValues.get`."""
        value: V | None = self._read(key, lambda table: table.get(window, key))
        return value

    async def items(self) -> AsyncIterator[tuple[tuple[int, Any], V]]:
        """All ((window, key), value), as `LiveValues.items`."""

        def entries(table: Any) -> Iterator[tuple[Any, Any]]:
            for window in table.namespaces():
                for key, stored in table.read(window).items():
                    yield (window, key), stored

        async for entry in self._all(entries):
            yield entry


def live_state(
    plan: Plan, operator_id: str, state: str | StateDescriptor[Any], stores: StoresOf
) -> LiveValues[Any] | LiveMaps[Any, Any] | LiveWindows[Any]:
    """A state of a job by its operator and its name or declaration.

    Raises:
        StateError: there is no such operator or state, it is not kept by key, or it is of another type.
    """
    stateful = {node.name: node for node in plan.topology.nodes if node.stateful}
    node = stateful.get(operator_id)
    if node is None or node.operator is None:
        known = any(other.name == operator_id for other in plan.topology.nodes)
        what = f"operator {operator_id!r} keeps no state" if known else f"there is no operator {operator_id!r}"
        raise StateError(f"{what}; those with state are: {', '.join(stateful) or 'none'}")
    declared = {descriptor.name: descriptor for descriptor in node.operator.states()}
    name = state if isinstance(state, str) else state.name
    descriptor = declared.get(name)
    if descriptor is None:
        raise StateError(
            f"operator {operator_id!r} has no state {name!r}; it has: {', '.join(declared) or 'timers only'}"
        )
    if not isinstance(state, str) and (
        type(descriptor) is not type(state) or descriptor.schema_types != state.schema_types
    ):
        raise StateError(
            f"state {name!r} of operator {operator_id!r} is declared as {type(descriptor).__name__} of "
            f"{_shown(descriptor)}, not as {type(state).__name__} of {_shown(state)}"
        )
    if isinstance(descriptor, LocalListState | BroadcastState):
        raise StateError(f"state {name!r} of operator {operator_id!r} belongs to its subtasks, not to keys")
    if isinstance(descriptor, MapState):
        return LiveMaps(plan, node, descriptor, stores)
    if isinstance(descriptor, WindowTableState):
        return LiveWindows(plan, node, descriptor, stores)
    return LiveValues(plan, node, descriptor, stores)


def not_running(job: str, status: str) -> JobError:
    """The state of a job that does not run cannot be read."""
    return JobError(f"job {job!r} is {status}: its state can be read while it runs; afterwards with `tidegate state`")


def _expired(layout: StateLayout, stored: Any, now_ms: int) -> bool:
    return layout.expiring and stored[0] <= now_ms


def _value(layout: StateLayout, stored: Any) -> Any:
    return stored[1] if layout.expiring else stored


def _shown(descriptor: StateDescriptor[Any]) -> str:
    return ", ".join(getattr(kind, "__name__", str(kind)) for kind in descriptor.schema_types)
