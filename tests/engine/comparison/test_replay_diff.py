"""A new version of a topology against what the old one wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.connectors import files, formats, memory
from tidegate.engine import ConfigError, ReplayDifference, ReplayOf, RunConfig, Topology, diff_replay, start
from tidegate.engine.checkpoint.manifest import InFlightEdge, InFlightEntry, InFlightSubtask, decode, encode
from tidegate.engine.executor import InlineExecutor
from tidegate.operators import agg, windows


class Sale(msgspec.Struct):
    shop: str
    at_ms: int
    amount: int


class Total(msgspec.Struct):
    key: str
    start_ms: int
    end_ms: int
    total: int


SALES = [Sale("abc"[n % 3], n * 100, n) for n in range(300)]


def sales(folder: Path, sink: Any = None, factor: int = 1, least: int = 0, more: bool = False) -> Topology:
    """Sums per shop and ten seconds. New versions multiply amounts, leave out the small ones, or write more."""
    topology = Topology("sales")
    stream = topology.source("sales", memory.source(SALES), event_time="at_ms").filter(lambda s: s.amount >= least)
    totals = (
        stream.map(lambda s: Sale(s.shop, s.at_ms, s.amount * factor))
        .key_by("shop", name="by-shop", key_type=str)
        .window(windows.tumbling("3s"))
        .aggregate(name="totals", total=agg.sum("amount"))
    )
    totals.sink("out", sink or files.lines(folder / "out", formats.json()))
    if more:
        totals.sink("more", memory.sink())
    return topology


def config(folder: Path, **more: Any) -> RunConfig:
    settings: dict[str, Any] = {"checkpoints": folder / "state", "checkpoint_interval": "1h", "retain": 100}
    return RunConfig(**(settings | {"state_backend": "dict", "job": "sales"} | more))


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def run(folder: Path, topology: Topology | None = None, stops: tuple[int, ...] = (60, 60, 60)) -> None:
    """The old version, stopped again and again: a checkpoint each time."""
    for stop in stops:
        made = topology or sales(folder)
        async with start(made, config(folder, stop_after_records=stop), executor=InlineExecutor()) as job:
            await job.wait()


async def diff(folder: Path, topology: Topology, of: ReplayOf, **how: Any) -> ReplayDifference:
    return await diff_replay(topology, config(folder), of, executor=InlineExecutor(), **how)


async def test_the_same_code_writes_what_it_wrote(tmp_path: Path) -> None:
    """From any checkpoint to any later one; nothing but that is left behind."""
    await run(tmp_path)
    before = contents(tmp_path)
    for begin, end in ((None, 1), (1, 2), (1, 3), (2, "latest"), (None, "latest")):
        found = await diff(tmp_path, sales(tmp_path), ReplayOf(start=begin, to=end))
        assert found.same
        (out,) = found.outputs
        assert out.old_records == out.new_records > 0
    assert contents(tmp_path) == before


async def test_changed_results_are_found_by_key_and_window(tmp_path: Path) -> None:
    """Without being told how to tell records apart."""
    await run(tmp_path)
    found = await diff(tmp_path, sales(tmp_path, factor=2), ReplayOf(start=1))
    assert not found.same
    (out,) = found.outputs
    # One window was full at the checkpoint, and fires with what the old version had put into it.
    assert (out.added, out.missing, out.equal, out.changed) == (0, 0, 3, 9)
    first = out.changed_examples[0]
    assert first.fields == ("total",)
    assert (first.key[0], first.new["total"] > first.old["total"]) == ("a", True)
    assert (found.start, found.end) == ("checkpoint 1", "checkpoint 3")


async def test_missing_and_added_results_are_told_apart(tmp_path: Path) -> None:
    """The new version leaves the first windows out."""
    await run(tmp_path)
    found = await diff(tmp_path, sales(tmp_path, least=70), ReplayOf(start=None))
    (out,) = found.outputs
    assert out.missing == 6
    assert out.added == 0
    assert {record["start_ms"] for record in out.missing_examples} == {0, 3000}


async def test_two_versions_are_replayed_over_the_same_records(tmp_path: Path) -> None:
    """Where the sink cannot tell what was written; until any end."""
    await run(tmp_path, sales(tmp_path, memory.sink()), (100,))
    for of in (ReplayOf(count=77), ReplayOf(until_ms=20_000), ReplayOf(to_offsets={"sales": {"0": 200}}), ReplayOf()):
        old = sales(tmp_path, memory.sink())
        assert (await diff(tmp_path, sales(tmp_path, memory.sink()), of, against=old)).same
        found = await diff(tmp_path, sales(tmp_path, memory.sink(), factor=3), of, against=old)
        assert found.outputs[0].changed == found.outputs[0].old_records > 0


async def test_sinks_that_only_one_version_has_are_named(tmp_path: Path) -> None:
    """One that is gone is a difference; one that is new is not."""
    await run(tmp_path, sales(tmp_path, memory.sink()), (100,))
    wide, narrow = sales(tmp_path, memory.sink(), more=True), sales(tmp_path, memory.sink())
    found = await diff(tmp_path, wide, ReplayOf(), against=narrow)
    assert (found.only_new, found.only_old, found.same) == (("more",), (), True)
    found = await diff(tmp_path, narrow, ReplayOf(), against=wide)
    assert (found.only_new, found.only_old, found.same) == ((), ("more",), False)


async def test_the_old_output_may_be_a_file(tmp_path: Path) -> None:
    """Of JSON lines where the sink is none of files, else as the sink writes it."""
    await run(tmp_path, stops=(100,))
    sink = memory.sink()
    made = sales(tmp_path, sink)
    async with start(made, config(tmp_path, checkpoints=None), executor=InlineExecutor()) as job:
        await job.wait()
    expected = tmp_path / "expected.jsonl"
    expected.write_bytes(b"".join(msgspec.json.encode(value) + b"\n" for value in sink.values))
    for target in (sales(tmp_path, memory.sink()), sales(tmp_path)):
        assert (await diff(tmp_path, target, ReplayOf(start=None), old={"out": expected})).same
    assert not (await diff(tmp_path, sales(tmp_path, factor=2), ReplayOf(start=None), old={"out": expected})).same


async def test_csv_is_compared_as_it_is_written(tmp_path: Path) -> None:
    """Both sides have been through the format."""
    await run(tmp_path, sales(tmp_path, files.csv(tmp_path / "out", Total)))
    found = await diff(tmp_path, sales(tmp_path, files.csv(tmp_path / "out", Total)), ReplayOf(start=1))
    assert found.same
    assert found.outputs[0].new_records > 0


async def test_what_is_not_compared_is_left_out(tmp_path: Path) -> None:
    """Sinks that cannot tell what they wrote, for one."""
    topology = sales(tmp_path, more=True)
    await run(tmp_path, sales(tmp_path))
    with pytest.raises(ConfigError, match=r"sink 'more' \(memory.sink\(\)\) cannot tell what it wrote"):
        await diff(tmp_path, topology, ReplayOf(start=1))
    assert (await diff(tmp_path, topology, ReplayOf(start=1), leave_out=["more"])).same


@pytest.mark.parametrize(
    ("of", "how", "message"),
    [
        (ReplayOf(count=5), {}, "is known from checkpoint to checkpoint: end at one"),
        (ReplayOf(start=1), {"leave_out": ["outt"]}, "there is no sink 'outt'; the topology has out"),
        (ReplayOf(start=1), {"leave_out": ["out"]}, "there is no sink to compare"),
        (ReplayOf(start=1), {"old": {"out": "nowhere.jsonl"}}, "nowhere.jsonl: there is no such file or folder"),
        (ReplayOf(start=1), {"keys": ["day"]}, "sink 'out': a record has no field 'day'"),
    ],
)
async def test_what_cannot_be_compared_is_one_clear_error(
    tmp_path: Path, of: ReplayOf, how: dict[str, Any], message: str
) -> None:
    """It names the sink and the remedy."""
    await run(tmp_path)
    with pytest.raises(ConfigError, match=message):
        await diff(tmp_path, sales(tmp_path), of, **how)


async def test_parts_at_least_once_do_not_tell_their_checkpoint(tmp_path: Path) -> None:
    """The remedy is to replay the old code."""
    sink = files.lines(tmp_path / "out", formats.json(), delivery="at_least_once")
    await run(tmp_path, sales(tmp_path, sink))
    with pytest.raises(ConfigError, match="parts do not tell which checkpoint they belong to"):
        await diff(tmp_path, sales(tmp_path, sink), ReplayOf(start=1))


async def test_somebody_is_told_how_far_it_is(tmp_path: Path) -> None:
    """In words."""
    await run(tmp_path)
    told: list[str] = []
    await diff(tmp_path, sales(tmp_path), ReplayOf(start=1), tell=told.append)
    assert told[0] == "reading what out wrote"
    assert told[-1].startswith("comparing out: ")


async def test_up_to_an_unaligned_checkpoint_committed_output_is_not_compared(tmp_path: Path) -> None:
    """The job had not written then what comes of the records that were in flight; the replay does. Two versions can be
    compared."""
    await run(tmp_path)
    path = tmp_path / "state" / "sales" / "checkpoints" / "0000000002" / "manifest.json"
    subtask = InFlightSubtask(0, 0, (0,), (False,), 12)
    entry = InFlightEntry(1, (InFlightEdge("sales", None, 0, "forward", 1),), (subtask,))
    path.write_bytes(encode(msgspec.structs.replace(decode(path.read_bytes()), in_flight={"out": entry})))
    with pytest.raises(
        ConfigError, match=r"checkpoint 2 is unaligned.* the 12 records .*'out' cannot be compared; end at an"
    ):
        await diff(tmp_path, sales(tmp_path), ReplayOf(start=1, to=2))
    assert (await diff(tmp_path, sales(tmp_path), ReplayOf(start=1, to=2), against=sales(tmp_path))).same
