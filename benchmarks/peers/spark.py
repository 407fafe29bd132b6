"""Spark's Structured Streaming: a micro-batch for each file, all that are there, and a checkpoint behind each. State is on the
heap, which is its default and the faster way."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any, Final

from .file_job import FileJob

LABEL: Final = "spark"
PACKAGES: Final = ("pyspark==4.3.0",)
MOST_BIDS: Final = 2_000_000
"""More than its start, which takes longer than the work on few; rates are compared."""

_LINES_PER_FILE: Final = 250_000
_SENTINEL: Final = '{"auction":-1,"bidder":0,"price":0,"channel":"","url":"","date_time":1800000000000}\n'
_SETTINGS: Final = {
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.memory": "3g",
    "spark.sql.session.timeZone": "UTC",
    # On a machine that does other things its parts wait long for each other, and would give up.
    "spark.network.timeout": "600s",
}


def split(bids: Path) -> Path:
    """A folder of files with the lines of one file, to be read in this order, and behind them a bid of the far future:
    windows that no later micro-batch closes stay open. Made if it is not there yet; it is whole or not there."""
    folder = bids.with_suffix(".split")
    if folder.exists():
        return folder
    partial = bids.with_suffix(".split-partial")
    partial.mkdir(exist_ok=True)
    with bids.open("rb") as lines:
        for number in itertools.count():
            part = list(itertools.islice(lines, _LINES_PER_FILE))
            path = partial / f"{number:05d}.json"
            path.write_bytes(b"".join(part) or _SENTINEL.encode())
            # Files are read by the time of their last change.
            os.utime(path, (1_700_000_000 + number * 10,) * 2)
            if not part:
                return partial.rename(folder)
    raise AssertionError


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds."""
    from pyspark.sql import functions as F

    _run(job, _bids(job), [F.col("auction").alias("key")])


def function(job: FileJob) -> None:
    """Count and sum per auction, bucket and ten seconds, with a Python function for each bid."""
    from pyspark.sql import functions as F

    def converted(price: int) -> tuple[int, str]:
        return price * 908 // 1000, "high" if price > 10_000 else "low"

    bids = _bids(job)
    sale = F.udf(converted, "price long, bucket string")
    made = bids.withColumn("sale", sale("price")).select("auction", "event_time", "sale.*")
    _run(job, made, [F.col("auction"), F.col("bucket")])


def _bids(job: FileJob) -> Any:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    builder = SparkSession.builder.master("local[2]")
    for name, value in _SETTINGS.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    schema = "auction long, bidder long, price long, channel string, url string, date_time long"
    bids = session.readStream.schema(schema).option("maxFilesPerTrigger", 1).json(str(job.source))
    return bids.withColumn("event_time", F.timestamp_millis("date_time")).withWatermark("event_time", "2 seconds")


def _run(job: FileJob, bids: Any, key: list[Any]) -> None:
    from pyspark.sql import functions as F

    start_ms = F.unix_millis(F.col("window.start"))
    results = (
        bids.groupBy(F.window("event_time", "10 seconds"), *key)
        .agg(F.count("*").alias("n"), F.sum("price").alias("total"))
        .filter("window.start < timestamp'2026-01-01'")
        .withColumns({"start_ms": start_ms, "end_ms": start_ms + 10_000})
        .drop("window")
    )
    writer = results.writeStream.format("json").option("path", str(job.output / "results"))
    writer = writer.option("checkpointLocation", str(job.work)).outputMode("append").trigger(availableNow=True)
    writer.start().awaitTermination()
    bids.sparkSession.stop()
