"""PyFlink's DataStream API, with functions in Python. They run in the interpreter inside the JVM (thread mode), which costs a
sixth of a worker process beside it. State is on the heap, without checkpoints: it is the faster way."""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Any, Final

from .file_job import FileJob

LABEL: Final = "flink-datastream"
PACKAGES: Final = ("apache-flink==2.3.0", "orjson==3.13.0")
MOST_BIDS: Final = 50_000
"""A few seconds' worth of them; rates are compared."""


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds."""
    from pyflink.common import Types

    def keyed(line: str) -> tuple[int, int, int]:
        import orjson

        bid = orjson.loads(line)
        return bid["auction"], bid["price"], bid["date_time"]

    def with_key(key: int) -> dict[str, Any]:
        return {"key": key}

    _run(job, keyed, Types.LONG(), with_key)


def function(job: FileJob) -> None:
    """Count and sum per auction, bucket and ten seconds, with a function more for each bid."""
    from pyflink.common import Types

    def converted(price: int) -> tuple[int, str]:
        return price * 908 // 1000, "high" if price > 10_000 else "low"

    def keyed(line: str) -> tuple[str, int, int]:
        import orjson

        bid = orjson.loads(line)
        price, bucket = converted(bid["price"])
        return f"{bid['auction']}:{bucket}", price, bid["date_time"]

    def with_key(key: str) -> dict[str, Any]:
        auction, _, bucket = key.partition(":")
        return {"auction": int(auction), "bucket": bucket}

    _run(job, keyed, Types.STRING(), with_key)


def _run(job: FileJob, keyed: Any, key_type: Any, with_key: Any) -> None:
    # The interpreter inside the JVM does not know of the virtual environment.
    os.environ["PYTHONPATH"] = sysconfig.get_paths()["purelib"]
    from pyflink.common import Configuration, Duration, Time, Types, WatermarkStrategy
    from pyflink.common.serialization import Encoder
    from pyflink.common.watermark_strategy import TimestampAssigner
    from pyflink.datastream import StreamExecutionEnvironment
    from pyflink.datastream.connectors.file_system import FileSink, FileSource, StreamFormat
    from pyflink.datastream.functions import AggregateFunction, ProcessWindowFunction
    from pyflink.datastream.window import TumblingEventTimeWindows

    class EventTime(TimestampAssigner):  # type: ignore[misc]
        def extract_timestamp(self, value: Any, record_timestamp: int) -> int:
            time_ms: int = value[2]
            return time_ms

    class Totals(AggregateFunction):  # type: ignore[misc]
        def create_accumulator(self) -> tuple[int, int]:
            return 0, 0

        def add(self, value: Any, accumulator: tuple[int, int]) -> tuple[int, int]:
            return accumulator[0] + 1, accumulator[1] + value[1]

        def get_result(self, accumulator: tuple[int, int]) -> tuple[int, int]:
            return accumulator

        def merge(self, acc_a: tuple[int, int], acc_b: tuple[int, int]) -> tuple[int, int]:
            return acc_a[0] + acc_b[0], acc_a[1] + acc_b[1]

    class Result(ProcessWindowFunction):  # type: ignore[misc]
        def process(self, key: Any, context: Any, elements: Any) -> Any:
            import orjson

            window = context.window()
            for n, total in elements:
                result = with_key(key) | {"start_ms": window.start, "end_ms": window.end, "n": n, "total": total}
                yield orjson.dumps(result).decode()

    config = Configuration()
    config.set_string("python.execution-mode", "thread")
    config.set_string("python.executable", sys.executable)
    config.set_string("python.client.executable", sys.executable)
    environment = StreamExecutionEnvironment.get_execution_environment(config)
    environment.set_parallelism(1)
    source = FileSource.for_record_stream_format(StreamFormat.text_line_format(), str(job.source)).build()
    strategy = WatermarkStrategy.for_bounded_out_of_orderness(Duration.of_seconds(2))
    pair = Types.TUPLE([Types.LONG(), Types.LONG()])
    results = (
        environment.from_source(source, WatermarkStrategy.no_watermarks(), "bids")
        .map(keyed, Types.TUPLE([key_type, Types.LONG(), Types.LONG()]))
        .assign_timestamps_and_watermarks(strategy.with_timestamp_assigner(EventTime()))
        .key_by(lambda value: value[0], key_type)
        .window(TumblingEventTimeWindows.of(Time.seconds(10)))
        .aggregate(Totals(), Result(), pair, Types.STRING())
    )
    results.sink_to(FileSink.for_row_format(str(job.output), Encoder.simple_string_encoder()).build())
    environment.execute("bids")
