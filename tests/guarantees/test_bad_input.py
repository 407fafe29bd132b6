"""Bad input is a clear error or a dead letter, and nothing good is lost."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tidegate.connectors import files, formats, memory
from tidegate.engine import JobStatus, OperatorError, RecordError, RunConfig, Topology, start
from tidegate.engine.clock import SystemClock
from tidegate.engine.testing import ManualClock
from tidegate.operators import agg, windows

NOW_MS = 1_700_000_000_000


class Reading(msgspec.Struct):
    """What the tests read."""

    id: int
    at: int
    value: float


class Untimed(msgspec.Struct):
    """A reading whose event time may be anything."""

    id: int
    at: Any = None


class ClockOfTheReadings(SystemClock):
    """Stands at the time of the readings, for `max_ahead` compares with it."""

    def now_ms(self) -> int:
        return NOW_MS


GOOD = [{"id": i, "at": NOW_MS + i, "value": float(i)} for i in range(6)]


def _line(record: Any) -> bytes:
    return json.dumps(record).encode()


def _topology(path: Path, type_: Any, on_error: Any, **options: Any) -> tuple[Topology, Any, Any]:
    good, bad = memory.sink(), memory.sink()
    topology = Topology("bad-input")
    stream = topology.source(
        "readings", files.lines(path, formats.json(type_), **options), event_time="at", on_error=on_error
    )
    stream.map(lambda r: r.id).sink("good", good)
    if on_error == "dead_letter":
        stream.side_output("failed").sink("bad", bad)
    return topology, good, bad


async def _run(topology: Topology, **config: Any) -> JobStatus:
    async with start(topology, RunConfig(state_backend="dict", **config), clock=ClockOfTheReadings()) as job:
        return await job.wait()


BAD_LINES = {
    "invalid UTF-8": b'{"id": 7, "at": 1, "value": "\xff\xfe"}',
    "not JSON": b"{id: 7",
    "a wrong type": _line({"id": "seven", "at": NOW_MS, "value": 1.0}),
    "a missing field": _line({"id": 7, "value": 1.0}),
    "NaN": b'{"id": 7, "at": %d, "value": NaN}' % NOW_MS,
    "an integer beyond 64 bits": b'{"id": 7, "at": %d, "value": 1.0}' % 10**30,
    "an event time beyond the clock": _line({"id": 7, "at": NOW_MS + 10**10, "value": 1.0}),
    "a negative event time": _line({"id": 7, "at": -5, "value": 1.0}),
    "a line of another shape": b"[1, 2, 3]",
    "null": b"null",
}
WELL_FORMED = ("an integer beyond 64 bits", "an event time beyond the clock", "a negative event time")


@pytest.mark.parametrize("kind", [*BAD_LINES])
async def test_a_bad_line_becomes_a_dead_letter_and_its_neighbours_pass(kind, tmp_path):
    """Whatever is wrong with one line, the lines before and after it go on, and the letter says where it stood."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join([*map(_line, GOOD[:3]), BAD_LINES[kind], *map(_line, GOOD[3:])]) + b"\n")
    topology, good, bad = _topology(path, Reading, "dead_letter")
    assert await _run(topology) is JobStatus.FINISHED
    assert good.values == [r["id"] for r in GOOD]
    assert [letter.operator for letter in bad.values] == ["readings"]
    assert bad.values[0].error
    assert bad.values[0].split
    assert bad.values[0].offset is not None
    assert bad.values[0].raw == (None if kind in WELL_FORMED else BAD_LINES[kind])


@pytest.mark.parametrize("kind", [*BAD_LINES])
async def test_a_bad_line_fails_the_job_with_its_place(kind, tmp_path):
    """Without another word the job fails, naming the source, the place and the remedy."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join([*map(_line, GOOD[:3]), BAD_LINES[kind], *map(_line, GOOD[3:])]) + b"\n")
    topology, _, _ = _topology(path, Reading, "fail")
    with pytest.raises(RecordError, match=r"'readings'.*bad record at .*on_error=") as caught:
        await _run(topology)
    assert caught.value.position is not None


@pytest.mark.parametrize("at", ["yesterday", 1.5, None, True, [1], -1, 10**30, NOW_MS * 1000])
async def test_an_unusable_event_time_is_skipped_and_counted(at, tmp_path):
    """Event times that are no time, negative, absurd or in microseconds never move the watermark."""
    path = tmp_path / "in.jsonl"
    lines = [_line({"id": i, "at": NOW_MS + i}) for i in range(4)]
    path.write_bytes(b"\n".join([*lines[:2], _line({"id": 9, "at": at}), *lines[2:]]) + b"\n")
    topology, good, _ = _topology(path, Untimed, "skip")
    async with start(topology, RunConfig(state_backend="dict"), clock=ClockOfTheReadings()) as job:
        await job.wait()
        counters = job.measures.operator("readings", 0, "source").counters
    assert good.values == [0, 1, 2, 3]
    assert counters["skipped"] == 1


async def test_nan_in_a_float_field_is_kept_apart_from_its_window(tmp_path):
    """A NaN that Python made is a value like any other: it spoils its own window's sum and nobody else's."""
    values = [("a", 10, 1.0), ("a", 20, float("nan")), ("b", 15, 2.0), ("a", 110, 3.0)]
    sink = memory.sink()
    topology = Topology("nan")
    stream = topology.source("values", memory.source(values), event_time=lambda v: v[1])
    summed = stream.key_by(lambda v: v[0]).window(windows.tumbling("100ms"))
    summed.aggregate(total=agg.sum(lambda v: v[2])).map(lambda r: (r.key, r.start_ms, r.total)).sink("out", sink)
    await _run(topology)
    found = {(key, start): total for key, start, total in sink.values}
    assert found[("b", 0)] == 2.0
    assert found[("a", 100)] == 3.0
    assert found[("a", 0)] != found[("a", 0)]


async def test_huge_integers_survive_state_and_checkpoints(tmp_path):
    """Sums beyond 64 bits come out exact, also after a checkpoint."""
    from tidegate.engine.testing.scripted import BARRIER, CRASH, ScriptedSource, run_script

    source, sink = ScriptedSource([2**62, 2**62, BARRIER, CRASH, 2**62]), memory.sink()
    topology = Topology("huge")
    summed = topology.source("numbers", source).key_by(lambda n: "all").aggregate(total=agg.sum(), name="sum")
    summed.map(lambda r: r.total).sink("out", sink)
    await run_script(topology, source, RunConfig(checkpoints=tmp_path, state_backend="dict", checkpoint_interval="1h"))
    assert sink.values == [2**62, 2**63, 3 * 2**62]


@pytest.mark.parametrize("on_damage", ["fail", "stop"])
async def test_a_truncated_gzip_gives_all_that_can_be_read(on_damage, tmp_path):
    """What stands before the damage comes out; then the job fails with the file's name, or the split ends."""
    records = [{"id": i, "at": NOW_MS + i, "value": 0.0} for i in range(20_000)]
    data = gzip.compress(b"".join(_line(r) + b"\n" for r in records))
    (tmp_path / "in.jsonl.gz").write_bytes(data[: len(data) * 2 // 3])
    topology, good, bad = _topology(tmp_path / "in.jsonl.gz", Reading, "dead_letter", on_damage=on_damage)
    if on_damage == "fail":
        with pytest.raises(OperatorError, match=r"in\.jsonl\.gz"):
            await _run(topology)
        return
    assert await _run(topology) is JobStatus.FINISHED
    assert good.values == [*range(len(good.values))]
    assert len(good.values) > 5_000
    assert bad.values


@pytest.mark.slow
async def test_a_line_of_100_megabytes_is_rejected_and_the_rest_is_read(tmp_path):
    """The long line becomes one dead letter with its first part; memory holds no more than a piece of it."""
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        file.write(b"".join(_line(r) + b"\n" for r in GOOD[:3]))
        file.write(b'{"id": 7, "text": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n')
        file.write(b"".join(_line(r) + b"\n" for r in GOOD[3:]))
    topology, good, bad = _topology(path, Reading, "dead_letter")
    assert await _run(topology) is JobStatus.FINISHED
    assert good.values == [r["id"] for r in GOOD]
    assert len(bad.values) == 1
    assert len(bad.values[0].value) <= 65_536 + 16


async def test_a_function_that_fails_names_the_operator_the_record_and_the_users_line(tmp_path):
    """The error of user code carries operator, split, offset and the user's own traceback."""

    def divide(n: int) -> float:
        return 1 / n

    sink = memory.sink()
    topology = Topology("division")
    topology.source("numbers", memory.source([1, 2, 0, 4])).map(divide, name="divide").sink("out", sink)
    with pytest.raises(OperatorError) as caught:
        await _run(topology)
    error = caught.value
    assert (error.operator_id, error.split_id, error.offset) == ("divide", "0", 2)
    assert re.search(r"'divide'.*2.*split 0.*ZeroDivisionError", str(error))
    frames = []
    traceback = error.__cause__.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == "divide"


async def test_a_manual_clock_serves_a_job():
    """The clock that tests move by hand runs a whole job."""
    sink = memory.sink()
    topology = Topology("by-hand")
    topology.source("numbers", memory.source([1, 2])).sink("out", sink)
    async with start(topology, clock=ManualClock()) as job:
        assert await job.wait() is JobStatus.FINISHED
    assert sink.values == [1, 2]
