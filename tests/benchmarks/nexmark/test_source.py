"""Events made in the job that reads them, and written where others read them."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest
from tidegate.connectors import Split, memory
from tidegate.engine import JobStatus, RunConfig, start
from tidegate.engine.testing.connector_suites import SourceSuite
from tidegate.engine.testing.contexts import ManualSourceContext

from benchmarks.nexmark import generator
from benchmarks.nexmark.__main__ import generated, main
from benchmarks.nexmark.answers import check
from benchmarks.nexmark.events import Auction, Event
from benchmarks.nexmark.generator import START_MS, Settings, events, events_file, json_chunks
from benchmarks.nexmark.queries import query_topology
from benchmarks.nexmark.source import NexmarkSource

N = 250


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few events are in several."""
    monkeypatch.setattr(generator, "CHUNK", 100)


class TestNexmarkSource(SourceSuite):
    """The contract of sources."""

    limits = (7, 300)

    def source(self) -> NexmarkSource:
        return NexmarkSource(N)

    def expected(self) -> dict[str, list[Event]]:
        return {"0": list(events(N))}


class TestNexmarkSourceByTheClock(SourceSuite):
    """The same when an hour has gone since the first event."""

    limits = (7, 300)

    def source(self) -> NexmarkSource:
        return NexmarkSource(N, settings=Settings(rate=10), by_clock=True)

    def expected(self) -> dict[str, list[Event]]:
        return {"0": list(events(N, Settings(rate=10, start_ms=0)))}

    def context(self) -> ManualSourceContext:
        return _Rushing()


class _Rushing(ManualSourceContext):
    """Every look at the clock is an hour later; the first one says 0."""

    def now_ms(self) -> int:
        now_ms = self.time_ms
        self.time_ms += 3_600_000
        return now_ms


async def test_by_the_clock_events_come_at_their_time() -> None:
    """No sooner, and after a restart those that came meanwhile at once."""
    source = NexmarkSource(settings=Settings(rate=100, start_ms=5), by_clock=True)
    context = ManualSourceContext(time_ms=1_000_000)
    reader = source.reader(context)
    await reader.open(Split("0"), None)
    first = await reader.read("0", 1000)
    assert [event.date_time for event in first.values] == [1_000_000]
    assert (await reader.read("0", 1000)).values == []
    context.time_ms += 45
    fetch = await reader.read("0", 1000)
    assert [event.date_time for event in fetch.values] == [1_000_010, 1_000_020, 1_000_030, 1_000_040]
    await reader.close()
    again = source.reader(ManualSourceContext(time_ms=1_000_100))
    await again.open(Split("0"), first.offset)
    found = (await again.read("0", 1000)).values
    assert found[:4] == fetch.values
    assert found[-1].date_time == 1_000_100
    await again.close()


async def test_what_an_auction_says_of_time_follows_the_clock_too() -> None:
    """It ends after it has begun."""
    there = list(events(100, Settings(start_ms=7_000)))
    here = list(events(100))
    for one, other in zip(there, here, strict=True):
        assert one.date_time - 7_000 == other.date_time - START_MS
        if isinstance(one, Auction) and isinstance(other, Auction):
            assert one.expires - one.date_time == other.expires - other.date_time


async def test_without_a_count_there_is_no_end() -> None:
    """And no lag, unless the clock says how many there should be."""
    assert not NexmarkSource().bounded
    for by_clock, lag in ((False, None), (True, 10_001)):
        context = ManualSourceContext()
        reader = NexmarkSource(by_clock=by_clock).reader(context)
        await reader.open(Split("0"), None)
        context.time_ms += 1_000
        found = reader.lag("0")
        assert (found and found.records) == lag
        assert len((await reader.read("0", 70)).values) == 70
        await reader.close()


def test_a_negative_count_is_refused() -> None:
    """At once."""
    with pytest.raises(ValueError, match=r"NexmarkSource\(count=-1\)"):
        NexmarkSource(-1)


@pytest.mark.slow
def test_a_query_over_events_made_in_its_job_gives_the_answer(tmp_path: Path) -> None:
    """As over a file of them."""
    main(["query", "q2", str(tmp_path / "out"), "--events", "2000", "--rate", "1000"])
    assert check("q2", events_file(tmp_path, 2000, Settings(rate=1000)), tmp_path / "out") > 0


def test_files_of_events_are_those_that_the_generator_makes(tmp_path: Path) -> None:
    """Byte by byte."""
    main(["files", str(tmp_path / "events"), "--events", str(N), "--seed", "3"])
    parts = sorted((tmp_path / "events").glob("*.jsonl"))
    assert b"".join(part.read_bytes() for part in parts) == b"".join(json_chunks(N, Settings(seed=3)))


async def test_by_the_clock_a_job_gets_events_of_now() -> None:
    """And ends with the last of them."""
    sink = memory.sink()
    made = generated(NexmarkSource(20, settings=Settings(rate=1_000), by_clock=True), sink)
    async with start(made, RunConfig()) as job:
        began_ms = job.clock.now_ms()
        assert await job.wait() is JobStatus.FINISHED
        ended_ms = job.clock.now_ms()
    times = [event.date_time for event in sink.values]
    assert times == list(range(times[0], times[0] + 20))
    assert began_ms <= times[0]
    assert times[-1] <= ended_ms


@pytest.mark.slow
def test_a_topic_of_events_feeds_a_query(kafka_servers: str, tmp_path: Path) -> None:
    """Written by the engine's own sink, and read by its own source."""
    from tidegate.connectors import files, formats, kafka

    from benchmarks.kafka_topics import create

    topic = f"nexmark-{secrets.token_hex(8)}"
    create(kafka_servers, topic)
    main(["kafka", kafka_servers, topic, "--events", "2000"])
    source = kafka.source(kafka_servers, topic, format=formats.json(Event), stop_at_end=True)
    made = query_topology("q1", source, files.lines(tmp_path / "out", formats.json()))

    async def run_query() -> None:
        async with start(made, RunConfig()) as job:
            assert await job.wait() is JobStatus.FINISHED

    asyncio.run(run_query())
    assert check("q1", events_file(tmp_path, 2000), tmp_path / "out") > 1_000


def test_a_job_that_cannot_run_says_so_in_a_line(tmp_path: Path) -> None:
    """And shows nothing of the engine's inside."""
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="is a file; a sink writes parts into a folder"):
        main(["files", str(tmp_path / "file"), "--events", "1"])


@pytest.mark.parametrize("wrong", [["files", "out", "--rate", "0"], ["query", "q99", "out"], ["nowhere"]])
def test_a_wrong_command_line_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With a line that says what is wrong."""
    with pytest.raises(SystemExit):
        main(wrong)
    assert "error: " in capsys.readouterr().err
