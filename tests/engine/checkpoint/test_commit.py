"""The second phase of a checkpoint."""

import asyncio

import pytest
from tidegate.connectors.sink import SinkError
from tidegate.engine import CommitError
from tidegate.engine.checkpoint.commit import Committer, CommittingSink
from tidegate.engine.testing import ManualClock, ManualSinkContext


class FailingSink:
    """Fails with the errors it was given, one after the other, then commits."""

    guarantee = "exactly_once"

    def __init__(self, *errors):
        self.errors = list(errors)
        self.committed = []

    async def commit(self, context, committables):
        if self.errors:
            raise self.errors.pop(0)
        self.committed += committables


async def _commit(sink, limit=None):
    """Commit two pieces; the events told meanwhile."""
    clock, events = ManualClock(), []
    committer = Committer(
        {"out": CommittingSink(sink, ManualSinkContext())},
        limit,
        clock,
        lambda name, facts: events.append((name, facts)),
    )
    async with asyncio.TaskGroup() as group:
        committing = group.create_task(committer.commit("out", [{"n": 1}, {"n": 2}]))
        while not committing.done():
            await clock.run(0.1)
    return events


async def test_a_commit_is_tried_again_until_the_sink_takes_it():
    """With a pause that grows, and one event for each failure."""
    sink = FailingSink(*[SinkError("away")] * 3)
    events = await _commit(sink)
    assert sink.committed == [{"n": 1}, {"n": 2}]
    assert [facts["tries"] for name, facts in events if name == "commit_retried"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("error", "limit", "left"),
    [(SinkError("gone", retriable=False), None, 4), (ValueError("a defect"), None, 4), (SinkError("away"), 2, 2)],
)
async def test_what_time_cannot_mend_fails_the_job(error, limit, left):
    """A hopeless error at once, a retriable one after as many tries as configured; the message names sink and remedy."""
    sink = FailingSink(*[error] * 5)
    with pytest.raises(ExceptionGroup) as raised:
        await _commit(sink, limit)
    (failure,) = raised.value.exceptions
    assert isinstance(failure, CommitError)
    assert "sink 'out' could not commit 2 pieces of output" in str(failure)
    assert "committed at the next start" in str(failure)
    assert failure.__cause__ is error
    assert (len(sink.errors), sink.committed) == (left, [])
