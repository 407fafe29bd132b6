"""Records printed."""

import ast
import io

import pytest
from tidegate.connectors import SinkError, console, formats
from tidegate.engine.testing.connector_suites import SinkSuite
from tidegate.engine.testing.contexts import ManualSinkContext
from tidegate.operators.batch import Batch


class TestConsoleSink(SinkSuite):
    """The contract of at-least-once sinks, held by a stream of text."""

    def setup_method(self):
        self._stream = io.StringIO()

    def sink(self):
        return console.sink(stream=self._stream)

    def visible(self):
        return [ast.literal_eval(line) for line in self._stream.getvalue().splitlines()]


async def _printed(sink, *batches):
    writer = sink.writer(ManualSinkContext())
    await writer.open()
    for values in batches:
        await writer.write(Batch(values))
    await writer.close()


async def test_a_record_is_a_line_of_its_format(capsys):
    """With a format, a record is printed as it would be written to a file."""
    await _printed(console.sink(formats.json(), prefix="> "), [{"n": 1}, {"n": 2}])
    assert capsys.readouterr().out == '> {"n":1}\n> {"n":2}\n'


async def test_the_header_is_printed_once(capsys):
    """CSV begins with its header, before the first batch only."""
    await _printed(console.sink(formats.csv()), [{"n": 1}], [{"n": 2}])
    assert capsys.readouterr().out == "n\n1\n2\n"


async def test_a_broken_pipe_is_a_sink_error():
    """A terminal that is gone fails the job with a clear message."""

    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(SinkError, match="Broken pipe"):
        await _printed(console.sink(stream=Broken()), [1])
