"""Showing a running job until it ends."""

import asyncio
import json
import logging
from io import StringIO

import pytest
from tidegate.engine.metrics import JobMeasures
from tidegate.engine.metrics.observe import observe
from tidegate.engine.testing.clock import ManualClock


async def settle() -> None:
    """Let everybody run who can."""
    for _ in range(8):
        await asyncio.sleep(0)


class FakeJob:
    """A job that counts what a test says."""

    def __init__(self) -> None:
        self.measures = JobMeasures("flights")

    def why_waiting(self) -> list[str]:
        return ["nothing to read"]


async def watch(job: FakeJob, clock: ManualClock, stream: StringIO, *, json: bool, live: bool) -> None:
    """Two intervals with a hundred records in the second, then the end."""
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(observe(job, json=json, live=live, interval_s=1.0, stream=stream, clock=clock))
        for records in (0, 100):
            await settle()
            job.measures.operator("in", 0, "source").records_in += records
            clock.advance(1.0)
            await settle()
        watching.cancel()


async def test_machines_get_one_object_per_interval_and_a_last_one() -> None:
    """The end is reported although its interval is not over."""
    stream = StringIO()
    await watch(FakeJob(), ManualClock(), stream, json=True, live=True)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in found] == ["progress"] * 3
    assert [line["records_per_s"] for line in found[:2]] == [0.0, 100.0]
    assert found[-1]["records_in"] == 100


async def test_without_a_terminal_one_line_is_logged_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    """Its facts are fields, not prose."""
    with caplog.at_level(logging.INFO, "tidegate"):
        await watch(FakeJob(), ManualClock(), StringIO(), json=False, live=False)
    assert [record.message for record in caplog.records] == ["progress"] * 3
    assert vars(caplog.records[1])["fields"]["why_waiting"] == "nothing to read"


async def test_on_a_terminal_a_table_is_drawn() -> None:
    """The last state stays on the screen."""
    stream = StringIO()
    await watch(FakeJob(), ManualClock(), stream, json=False, live=True)
    assert "nothing to read" in stream.getvalue()
