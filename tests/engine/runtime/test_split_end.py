"""Where a replay ends a split, and reading up to exactly there."""

from __future__ import annotations

from typing import Any

import pytest
from tidegate.connectors import memory
from tidegate.connectors.source import Fetch
from tidegate.engine import JobError, JobStatus, RunConfig, Topology
from tidegate.engine.executor import InlineExecutor
from tidegate.engine.job import Job
from tidegate.engine.runtime.replaying import ReplayRange
from tidegate.engine.runtime.split_end import SplitEnd, ordinal


@pytest.mark.parametrize(
    ("offset", "number"),
    [(None, 0), (7, 7), ({"byte": 12}, 12), ({"byte": 12, "head": "12:ab"}, 12), ("x", None), (True, None)],
)
def test_an_offset_with_one_whole_number_has_an_order(offset: Any, number: int | None) -> None:
    """The engine needs to know no more of it."""
    assert ordinal(offset) == number


def test_an_offset_with_several_numbers_has_none() -> None:
    """One could not tell which of them grows."""
    assert ordinal({"a": 1, "b": 2}) is None


def test_records_count_before_offsets() -> None:
    """Of a file that is rotated the offset goes back; the number of records does not."""
    end = SplitEnd({"byte": 300}, 120)
    assert not end.reached({"byte": 5000}, 100)
    assert not end.passed({"byte": 5000}, 100)
    assert end.reached({"byte": 300}, 120)
    assert end.passed({"byte": 10}, 121)


def test_what_was_rejected_behind_the_last_record_is_read_too() -> None:
    """All records are there, but the offset is not: a dead letter may be between them."""
    end = SplitEnd(10, 5)
    assert not end.reached(8, 5)
    assert end.most(8, 5) == 1
    assert end.reached(10, 5)


def test_opaque_offsets_end_by_the_number_of_records() -> None:
    """Or where they are equal."""
    assert SplitEnd("m", 3).reached("k", 3)
    assert SplitEnd("m").reached("m", 0)
    assert not SplitEnd("m").reached("k", 5)


class _Generous(memory.ListSource[int]):
    """Gives four times as many records as it is asked for, and `least` to those who ask for one."""

    def __init__(self, values: list[int], least: int) -> None:
        super().__init__(values)
        self.least = least
        self.reads: list[int] = []

    def reader(self, context: Any) -> Any:
        reader = super().reader(context)
        read = reader.read

        async def more(split_id: str, limit: int) -> Fetch[int]:
            self.reads.append(limit)
            return await read(split_id, 4 * limit if limit > 1 else self.least)

        reader.read = more  # type: ignore[method-assign]
        return reader


async def _read(source: Any, end: SplitEnd) -> tuple[list[int], JobStatus]:
    sink = memory.sink()
    topology = Topology("ends")
    topology.source("numbers", source).sink("out", sink)
    replay = ReplayRange("ends", None, {"numbers": {"0": end}})
    config = RunConfig(state_backend="dict")
    async with Job(topology, config, executor=InlineExecutor(), replay=replay) as job:
        return sink.values, await job.wait()


@pytest.mark.parametrize("end", [SplitEnd(0), SplitEnd(1), SplitEnd(7), SplitEnd(99), SplitEnd(99, 99), SplitEnd(7, 7)])
async def test_a_split_ends_exactly_there(end: SplitEnd) -> None:
    """And is held: the job is drained, for its stream has not ended."""
    values, status = await _read(memory.source([*range(300)]), end)
    assert values == [*range(end.offset)]
    assert status is JobStatus.STOPPED


async def test_a_split_that_had_ended_there_ends_its_stream() -> None:
    """More records have come behind it since; they are not read."""
    values, status = await _read(memory.source([*range(300)]), SplitEnd(100, 100, ended=True))
    assert values == [*range(100)]
    assert status is JobStatus.FINISHED


async def test_a_reader_that_gives_more_than_it_is_asked_for_is_asked_again() -> None:
    """From where it began, for less, until it stops at the end."""
    source = _Generous([*range(300)], least=1)
    values, _ = await _read(source, SplitEnd(101, 101))
    assert values == [*range(101)]
    assert 1 in source.reads


async def test_an_end_that_no_read_can_stop_at_is_an_error() -> None:
    """Rather than records too many or too few."""
    with pytest.raises(JobError, match="3 records come at once, and the end at 101 is among them"):
        await _read(_Generous([*range(300)], least=3), SplitEnd(101, 101))
