"""Flink SQL: in Java, submitted with PyFlink's Table API. Only the function is Python. State is in RocksDB, and a checkpoint
is taken every second."""

from __future__ import annotations

import sys
from typing import Any, Final

from .file_job import FileJob

LABEL: Final = "flink-sql"
PACKAGES: Final = ("apache-flink==2.3.0",)
MOST_BIDS: Final = 2_000_000
"""More than its start, which takes longer than the work on few; rates are compared."""

_BIDS: Final = """
    CREATE TABLE bids (
        auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time BIGINT,
        event_time AS to_timestamp_ltz(date_time, 3),
        WATERMARK FOR event_time AS event_time - INTERVAL '2' SECOND
    ) WITH ('connector' = 'filesystem', 'path' = 'file://{source}', 'format' = 'json')
"""
_RESULTS: Final = """
    CREATE TABLE results ({key}, start_ms BIGINT, end_ms BIGINT, n BIGINT, total BIGINT)
    WITH ('connector' = 'filesystem', 'path' = 'file://{output}', 'format' = 'json')
"""
_INSERT: Final = """
    INSERT INTO results
    SELECT {key}, start_s * 1000, start_s * 1000 + 10000, n, total
    FROM (
        SELECT {key},
            CAST(timestampdiff(SECOND, TIMESTAMP '1970-01-01 00:00:00', window_start) AS BIGINT) AS start_s,
            count(*) AS n, sum(price) AS total
        FROM TABLE(tumble(TABLE {bids}, DESCRIPTOR(event_time), INTERVAL '10' SECOND))
        GROUP BY {key}, window_start, window_end
    )
"""
_SETTINGS: Final = {
    "parallelism.default": "1",
    "table.local-time-zone": "UTC",
    "execution.runtime-mode": "STREAMING",
    "execution.checkpointing.interval": "1s",
    "execution.checkpointing.storage": "filesystem",
    "execution.checkpointing.incremental": "true",
    "state.backend.type": "rocksdb",
    "taskmanager.memory.managed.size": "512m",
}


def window(job: FileJob) -> None:
    """Count and sum per auction and ten seconds."""
    tables = _tables(job)
    tables.execute_sql(_RESULTS.format(output=job.output, key="`key` BIGINT"))
    _insert(tables, key="auction", bids="bids")


def function(job: FileJob) -> None:
    """Count and sum per auction, bucket and ten seconds, with a Python function for each bid."""
    from pyflink.common import Row
    from pyflink.table import DataTypes
    from pyflink.table.udf import udf

    sale = DataTypes.ROW([DataTypes.FIELD("price", DataTypes.BIGINT()), DataTypes.FIELD("bucket", DataTypes.STRING())])

    @udf(result_type=sale)
    def converted(price: int) -> Any:
        return Row(price * 908 // 1000, "high" if price > 10_000 else "low")

    tables = _tables(job)
    tables.execute_sql(_RESULTS.format(output=job.output, key="auction BIGINT, bucket STRING"))
    tables.create_temporary_function("converted", converted)
    tables.execute_sql(
        "CREATE TEMPORARY VIEW sales AS SELECT auction, event_time, sale.price AS price, sale.bucket AS bucket "
        "FROM (SELECT auction, event_time, converted(price) AS sale FROM bids)"
    )
    _insert(tables, key="auction, bucket", bids="sales")


def _tables(job: FileJob) -> Any:
    from pyflink.table import EnvironmentSettings, TableEnvironment

    tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    config = tables.get_config()
    for name, value in _SETTINGS.items():
        config.set(name, value)
    config.set("python.executable", sys.executable)
    config.set("execution.checkpointing.dir", f"file://{job.work}")
    tables.execute_sql(_BIDS.format(source=job.source))
    return tables


def _insert(tables: Any, key: str, bids: str) -> None:
    tables.execute_sql(_INSERT.format(key=key, bids=bids)).wait()
