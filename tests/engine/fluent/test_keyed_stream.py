"""What stands on keyed streams, in whole topologies: two subtasks, checkpoints, crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tidegate.connectors import memory
from tidegate.engine import JobStatus, KeyedStream, RunConfig, Stream, Topology, TopologyError, restart
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.testing import BARRIER, CRASH, ScriptedSource, run_script
from tidegate.operators import Change, Watermarks, agg, windows


class Bid(msgspec.Struct, frozen=True):
    """A record of these tests."""

    item: str
    at: int
    price: int


BIDS = [Bid(f"item-{n * 5 % 7}", n * 40 + n * 13 % 90, n * 29 % 100) for n in range(80)]

Build = Callable[[KeyedStream[Any, Bid]], Stream[Any]]

KINDS: dict[str, Build] = {
    "dedupe": lambda s: s.dedupe("200ms", name="op"),
    "dedupe-ever": lambda s: s.dedupe(name="op"),
    "dedupe-last": lambda s: s.dedupe("500ms", keep="last", name="op"),
    "throttle": lambda s: s.throttle("300ms", time="event", name="op"),
    "debounce": lambda s: s.debounce("250ms", name="op"),
    "debounce-at-the-end": lambda s: s.debounce("1d", time="processing", name="op"),
    "sort": lambda s: s.sort(name="op"),
    "top-n": lambda s: s.top_n(2, "price", name="op"),
    "top-n-of-windows": lambda s: s.window(windows.sliding("1s", "500ms")).top_n(2, lambda b: b.price, name="op"),
    "changes": lambda s: s.to_changes(deleted=lambda b: b.price > 80, name="op"),
    "top-n-of-changes": lambda s: s.to_changes(name="c").key_by(lambda c: 0, name="all").top_n(3, "price", name="op"),
    "upserts": lambda s: s.to_changes(name="op").to_upserts(name="up"),
    "over-rows": lambda s: s.over(last=3).aggregate(name="op", top=agg.max("price"), total=agg.sum("price")),
    "cumulative": lambda s: s.window(windows.cumulative("1s", "250ms")).aggregate(name="op", n=agg.count()),
    "count": lambda s: s.window(windows.count(4, every=2)).aggregate(name="op", total=agg.sum("price")),
    "session": lambda s: s.window(windows.session(lambda b: f"{b.price + 1}ms")).aggregate(name="op", n=agg.count()),
    "sample": lambda s: s.sample(0.3, name="op"),
    "sample-of-windows": lambda s: s.window(windows.tumbling("1s")).aggregate(name="op", some=agg.sample("price", 2)),
}


def _run(kind: str, script: list[Any], folder: Any, parallelism: int) -> list[str]:
    source, out = ScriptedSource(script, fetch_sizes=[3, 7]), memory.sink()
    source.type = Bid  # type: ignore[attr-defined]  # as a source with a format has it
    topology = Topology("kinds")
    bids = topology.source("bids", source, event_time="at", watermarks=Watermarks(out_of_orderness="1s"))
    KINDS[kind](bids.key_by("item", name="by-item")).sink("out", out)
    config = RunConfig(
        checkpoints=folder,
        checkpoint_interval="1h",
        parallelism=parallelism,
        state_backend="rocksdb" if folder is not None and parallelism == 2 else "dict",
        restart=restart.fixed_delay(5, "0ms"),
    )
    assert asyncio.run(run_script(topology, source, config, executor=InlineExecutor())) is JobStatus.FINISHED
    return sorted(map(repr, out.values))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_crashes_and_subtasks_change_nothing(kind: str, tmp_path: Any) -> None:
    """What comes out is what one subtask gives that never failed."""
    crashing = [*BIDS[:25], BARRIER, *BIDS[25:40], CRASH, *BIDS[40:60], BARRIER, CRASH, *BIDS[60:]]
    undisturbed = _run(kind, list(BIDS), None, 1)
    assert undisturbed
    assert _run(kind, crashing, tmp_path, 2) == undisturbed


def test_types_lead_changes_on() -> None:
    """Operators know that their records are changes, and of what."""
    topology = Topology("types")
    keyed = topology.source("bids", memory.source(BIDS, type=Bid)).key_by("item", name="by-item")
    assert keyed.top_n(1, "price", name="top").record_type == Change[Bid]
    changes = keyed.to_changes(name="changes")
    assert changes.record_type == Change[Bid]
    assert changes.to_upserts(name="upserts").record_type == Change[Bid]
    assert changes.insert_only(name="rows").record_type is Bid
    assert keyed.dedupe(name="once").record_type is Bid


@pytest.mark.parametrize("arguments", [{}, {"span": "5m", "last": 3}])
def test_a_moving_window_takes_a_duration_or_a_count(arguments: dict[str, Any]) -> None:
    """One of them."""
    keyed = Topology("over").source("bids", memory.source(BIDS)).key_by("item")
    with pytest.raises(TopologyError, match="either a duration"):
        keyed.over(**arguments)


def test_the_type_that_reduce_was_given_is_that_of_its_results():
    """What follows can store them; a class that makes the records says the type too."""
    stream = Topology("t").source("numbers", memory.source([1])).key_by(str)
    assert stream.reduce(max, type=int).record_type is int
    assert stream.map(Bid).record_type is Bid
