"""The conformance suites themselves: the README's example passes, and broken connectors do not."""

import re
from pathlib import Path

import pytest
from tidegate.connectors import memory
from tidegate.engine.testing.connector_suites import SinkSuite, SourceSuite

_README = Path(__file__).parents[2] / "connectors" / "README.md"
_NAMES = [name for name in dir(SourceSuite) if name.startswith("test_")]
_SINK_NAMES = [name for name in dir(SinkSuite) if name.startswith("test_")]


def _failures(suite, names):
    failed = []
    for name in names:
        try:
            getattr(suite(), name)()
        except AssertionError:
            failed.append(name)
    return failed


def _readme():
    scope = {"__name__": "readme"}
    for block in re.findall(r"```python\n(.*?)```", _README.read_text(), re.DOTALL):
        exec(compile(block, str(_README), "exec"), scope)
    return scope


@pytest.mark.parametrize("name", _NAMES)
def test_the_example_of_the_readme_conforms(name):
    """What the README shows is a connector that passes its suite."""
    getattr(_readme()["TestSquares"](), name)()


class _Reader(memory.ListSource([]).reader(None).__class__):
    """A reader with one defect."""

    defect = ""

    async def open(self, split, offset):
        await super().open(split, offset)
        if self.defect == "resumes one too late" and offset:
            self._next[split.id] += 1

    async def read(self, split_id, limit):
        fetch = await super().read(split_id, limit)
        if self.defect == "never ends":
            fetch.end = False
        if self.defect == "offset is no JSON value":
            fetch.offset = {fetch.offset}
        if self.defect == "positions too short":
            fetch.positions = [0]
        if self.defect == "loses a record" and len(fetch.values) > 1:
            del fetch.values[1]
        return fetch


@pytest.mark.parametrize(
    ("defect", "found_by"),
    [
        ("", []),
        ("resumes one too late", ["test_every_offset_resumes_with_the_rest"]),
        ("never ends", ["test_every_record_comes_once_in_order"]),
        ("offset is no JSON value", ["test_every_offset_resumes_with_the_rest"]),
        ("positions too short", ["test_parallel_lists_are_as_long_as_the_values"]),
        ("loses a record", ["test_every_record_comes_once_in_order"]),
    ],
)
def test_a_broken_source_is_found(defect, found_by):
    """Each defect fails at least the test that names it; a source without one passes."""

    class Source(memory.ListSource):
        def reader(self, context):
            reader = _Reader(self._parts)
            reader.defect = defect
            return reader

    class Suite(SourceSuite):
        def source(self):
            return Source([1, 2, 3, 4, 5])

        def expected(self):
            return {"0": [1, 2, 3, 4, 5]}

    failed = _failures(Suite, _NAMES)
    assert set(found_by) <= set(failed)
    assert bool(failed) == bool(defect)


class _EagerSink(memory.ListSink):
    """Shows records at the prepare."""

    async def commit(self, context, committables):
        await super().commit(context, [c for c in committables if c["name"] in self._prepared])

    def writer(self, context):
        sink, writer = self, super().writer(context)
        prepare = writer.prepare_commit

        async def prepare_and_show(checkpoint_id):
            prepared = await prepare(checkpoint_id)
            await sink.commit(context, prepared)
            return prepared

        writer.prepare_commit = prepare_and_show
        return writer


class _DoublingSink(memory.ListSink):
    """Commits again what it has committed."""

    async def commit(self, context, committables):
        kept = dict(self._prepared)
        self._committed = [(*entry[:1], entry[1] + "x", entry[2]) for entry in self._committed]
        await super().commit(context, committables)
        self._prepared.update(kept)


class _ForgetfulSink(memory.ListSink):
    """Leaves what is newer when it recovers."""

    async def recover(self, context, checkpoint_id, committables):
        await self.commit(context, committables)


@pytest.mark.parametrize(
    ("kind", "found_by"),
    [
        (memory.ListSink, None),
        (_EagerSink, "test_nothing_is_visible_before_the_commit"),
        (_DoublingSink, "test_commit_may_be_repeated"),
        (_ForgetfulSink, "test_recover_does_away_with_what_is_newer"),
    ],
)
def test_a_broken_sink_is_found(kind, found_by):
    """Each defect fails at least the test that names it; a sink without one passes."""

    class Suite(SinkSuite):
        def __init__(self):
            self._sink = kind()

        def sink(self):
            return self._sink

        def visible(self):
            return self._sink.values

    failed = _failures(Suite, _SINK_NAMES)
    assert (found_by in failed) if found_by else not failed
