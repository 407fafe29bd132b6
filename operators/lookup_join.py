"""Each record with what a coroutine finds for its key: calls to a service or database, with many of them in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, TypeVar

from .batch import Batch
from .errors import FAILED, OnError, Retry
from .in_flight import Call
from .joined import How, Joined, Pairs, check_how
from .key_by import Key, key_function
from .lookup_cache import LookupCache
from .map_async import MapAsync
from .operator import OperatorContext
from .time import Duration, duration_ms

In = TypeVar("In")
Out = TypeVar("Out")


class LookupJoin(MapAsync[In, Out]):
    """Gives out each record with the row that `function` finds for its key.

    Calls in flight are kept in checkpoints and made again, as those of `MapAsync` are; order, capacity, timeouts and
    tries are the same too. Records that ask for the same key at the same time share one call. Pairs keep the record's
    timestamp, key and origin. What is found depends on when it is asked for: a replay may find something else.

    A record whose answer is in the cache costs a lookup there, another one a coroutine and its share of a call. State: the
    records in flight, as of `MapAsync`; the cache is none.

    Args:
        function: called with a key, gives an awaitable of the row, or of None; with `batch_size` called with a list of
            different keys, gives an awaitable of a mapping that leaves out what was not found.
        on: what gives a record's key: a function, a field name or several; None: the key of the keyed stream.
        how: `inner`: records for which nothing is found are dropped; `left`: they come without a row.
        select: makes of (record, row) the value to give out; None: a `Joined`.
        cache_size: how many answers are kept for the next who asks, "there is none" among them; the one used longest ago
            goes first.
        cache_ttl: how long an answer is good; None: for as long as it is in the cache.
        batch_size: ask for up to so many keys at a time: those whose records are waiting anyway.
        ordered: pairs go out in the order of the records; with False as they come, but never past a watermark.
        input_type, key_type, capacity, timeout, retry, on_error: as for `MapAsync`; `capacity` counts records, also of one
            batch. `on_error` is also about records that `on` or `select` fails on.

    Raises:
        ValueError: a setting is wrong.
    """

    kind = "lookup_join"
    side_outputs = (FAILED,)

    def __init__(
        self,
        function: Callable[[Any], Awaitable[Any]],
        *,
        input_type: Any,
        on: Key[In] | None = None,
        how: How = "inner",
        select: Callable[[Any, Any], Out] | None = None,
        cache_size: int = 0,
        cache_ttl: Duration | None = None,
        batch_size: int | None = None,
        key_type: Any = Any,
        ordered: bool = True,
        capacity: int = 100,
        timeout: Duration | None = "30s",
        retry: Retry | None = None,
        on_error: OnError | None = None,
    ) -> None:
        check_how(how, self.kind, known=("inner", "left"))
        if ordered not in (True, False):
            raise ValueError(
                f"lookup_join(ordered={ordered!r}) is not known: use True or False; calls of a key one after the other are "
                'for those that change something, see map_async(ordered="key")'
            )
        if cache_size < 0:
            raise ValueError(f"lookup_join(cache_size={cache_size}): it counts answers, so it is at least 0")
        if cache_ttl is not None and not cache_size:
            raise ValueError("lookup_join(cache_ttl=...) needs a cache: give cache_size too")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"lookup_join(batch_size={batch_size}): at least one key must be asked for")
        super().__init__(
            function,
            input_type=input_type,
            key_type=key_type,
            ordered=ordered,
            capacity=capacity,
            timeout=timeout,
            retry=retry,
            on_error=on_error,
        )
        self.how = how
        self.select = select
        self.batch_size = batch_size
        self._key_of = None if on is None else key_function(on, "lookup_join")
        self._cache_settings = (cache_size, None if cache_ttl is None else duration_ms(cache_ttl))

    def open(self, context: OperatorContext) -> None:
        self._pairs = Pairs(self.select, self.on_error, context)
        self._cache = LookupCache(*self._cache_settings)
        self._asked: dict[Any, asyncio.Future[Any]] = {}
        """The keys that are being asked for, and who waits for the answer."""
        self._round: _Round | None = None
        self._hits = 0
        super().open(context)

    def process(self, batch: Batch[In]) -> None:
        super().process(batch)
        if self._cache_settings[0]:
            self._context.count("cache_hits", self._hits)
            self._context.count("cache_misses", len(batch) - self._hits)
            self._hits = 0
        self._wake_if_ripe()

    def collect(self) -> Sequence[Batch[Out] | int]:
        out: list[Batch[Out] | int] = []
        for item in super().collect():
            pairs = self._given_out(item) if isinstance(item, Batch) else item
            if pairs is not None:
                out.append(pairs)
        return out

    def _given_out(self, batch: Batch[Any]) -> Batch[Out] | None:
        if self.how == "inner":
            found = [pair.right is not None for pair in batch.values]
            if not any(found):
                return None
            if not all(found):
                batch = batch.select(found)
        return self._pairs.give_out(batch)

    def _begin(self, call: Call) -> None:
        try:
            answer = self._cache.get(self._key(call), self._context.now_ms())
        except Exception as error:
            call.error, call.tries = error, 1
            self._line.finish(call)
            return
        if answer is None:
            super()._begin(call)
            return
        self._hits += 1
        call.result = Joined(call.value, answer[0])
        self._line.finish(call)

    def _key(self, call: Call) -> Any:
        return call.key if self._key_of is None else self._key_of(call.value)

    async def _ask(self, call: Call) -> Any:
        return Joined(call.value, await self._find(self._key(call)))

    async def _find(self, key: Any) -> Any:
        """The row of a key, by a call that all share who ask for the key meanwhile."""
        asked = self._asked.get(key)
        if asked is not None:
            return await asyncio.shield(asked)
        # It may have been answered while this record waited for its turn.
        answer = self._cache.get(key, self._context.now_ms())
        if answer is not None:
            return answer[0]
        asked = self._asked[key] = asyncio.get_running_loop().create_future()
        try:
            found = await (self._called(key) if self.batch_size is None else self._found_in_round(key, self.batch_size))
            self._cache.put(key, found, self._context.now_ms())
            asked.set_result(found)
        except BaseException as error:
            _fail(asked, error)
            raise
        finally:
            del self._asked[key]
        return found

    async def _found_in_round(self, key: Any, batch_size: int) -> Any:
        """The row of a key, by a call that asks for others too."""
        current = self._round
        if current is not None:
            current.keys.append(key)
            if len(current.keys) >= batch_size:
                self._round = None
            rows = await asyncio.shield(current.rows)
            return rows.get(key)
        current = _Round(key)
        if batch_size > 1:
            self._round = current
            # The records that came together with this one ask in the same turn of the loop.
            await self._context.sleep(0)
            if self._round is current:
                self._round = None
        try:
            rows = await self._called(current.keys)
            if not isinstance(rows, Mapping):
                raise TypeError(
                    f"with batch_size a lookup gives a mapping from key to row, but it gave a {type(rows).__name__}"
                )
            current.rows.set_result(rows)
        except BaseException as error:
            _fail(current.rows, error)
            raise
        return rows.get(key)

    async def _called(self, argument: Any) -> Any:
        answer = self.function(argument)
        if not isawaitable(answer):
            raise TypeError(
                f"lookup_join needs a coroutine function, but it gave a {type(answer).__name__}: declare it with async def"
            )
        return await answer


class _Round:
    """Keys that are asked for together."""

    __slots__ = ("keys", "rows")

    def __init__(self, key: Any) -> None:
        self.keys = [key]
        self.rows: asyncio.Future[Mapping[Any, Any]] = asyncio.get_running_loop().create_future()


def _fail(shared: asyncio.Future[Any], error: BaseException) -> None:
    """Tell those who wait for a call that it has failed; each may try again."""
    if not isinstance(error, Exception):
        error = TimeoutError("the call that this record shared was given up")
    shared.set_exception(error)
    # Where nobody waits, nobody is to be warned.
    shared.exception()
