"""The measures of a job as Prometheus metrics, and the small server that gives them out.

The server runs on the job's own event loop: it reads the measures where they are written, without locks or
threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ...operators.time import MAX_WATERMARK, MIN_WATERMARK
from ..clock import Clock
from ..errors import ConfigError
from ..listener import Handler, serving
from .histogram import BOUNDS, BUCKETS_PER_DOUBLING, Histogram
from .measures import JobMeasures, watermark_lag_ms

_COUNTERS: Final = {
    "records_in": "Records taken in by an operator; of a source, read.",
    "records_out": "Records given out by an operator; of a sink, written.",
    "bytes_in": "Bytes read by a source.",
    "bytes_out": "Bytes written by a sink.",
    "errors": "Records that raised.",
    "dead_letters": "Records sent to the side output for records that raised.",
    "late": "Late records.",
}


class MeasuresCollector(Collector):
    """Turns the measures into metrics at every scrape. To be registered with a registry of one's own, or
    with the process's, by a program that has one."""

    def __init__(self, measures: JobMeasures, clock: Clock) -> None:
        self._measures = measures
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Nothing: a registry that asks for it before the job runs would find no operators."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics, at the clock's time."""
        now_ms = self._clock.now_ms()
        yield from self._operators(now_ms)
        yield from self._subtasks()
        yield from self._splits(now_ms)
        yield from self._checkpoints(now_ms)
        yield from self._job()

    def _operators(self, now_ms: int) -> Iterator[Metric]:
        labels = ["job", "operator", "subtask"]
        families = {
            name: CounterMetricFamily(f"tidegate_{name}", text, labels=labels) for name, text in _COUNTERS.items()
        }
        custom = CounterMetricFamily(
            "tidegate_operator_count", "What operators count themselves.", labels=[*labels, "name"]
        )
        lag = GaugeMetricFamily(
            "tidegate_watermark_lag_seconds",
            "Processing time less watermark; absent before the first watermark.",
            labels=labels,
        )
        memory = GaugeMetricFamily("tidegate_state_memory_bytes", "State as objects in memory.", labels=labels)
        disk = GaugeMetricFamily("tidegate_state_disk_bytes", "State in the database.", labels=labels)
        for operator in list(self._measures.operators.values()):
            values = [self._measures.job, operator.operator_id, str(operator.subtask)]
            for name, family in families.items():
                family.add_metric(values, getattr(operator, name))
            for name, n in operator.counters.items():
                custom.add_metric([*values, name], n)
            lag_ms = watermark_lag_ms(operator.watermark_ms, now_ms)
            if lag_ms is not None:
                lag.add_metric(values, lag_ms / 1000)
            memory.add_metric(values, operator.state_memory_bytes)
            disk.add_metric(values, operator.state_disk_bytes)
        yield from families.values()
        yield from (custom, lag, memory, disk)

    def _subtasks(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "tidegate_subtask_time_seconds",
            "Time that a subtask was busy, idle or backpressured.",
            labels=["job", "chain", "subtask", "state"],
        )
        for subtask in list(self._measures.subtasks.values()):
            values = [self._measures.job, subtask.name, str(subtask.subtask)]
            family.add_metric([*values, "busy"], subtask.busy_s)
            family.add_metric([*values, "idle"], subtask.idle_s)
            family.add_metric([*values, "backpressured"], subtask.backpressured_s)
        yield family

    def _splits(self, now_ms: int) -> Iterator[Metric]:
        labels = ["job", "operator", "split"]
        records = CounterMetricFamily("tidegate_split_records", "Records read from a split.", labels=labels)
        record_lag = GaugeMetricFamily("tidegate_source_record_lag", "Records not read yet.", labels=labels)
        byte_lag = GaugeMetricFamily("tidegate_source_byte_lag", "Bytes not read yet.", labels=labels)
        time_lag = GaugeMetricFamily(
            "tidegate_source_event_time_lag_seconds",
            "Event time between the newest record there is and the last one read.",
            labels=labels,
        )
        watermark = GaugeMetricFamily(
            "tidegate_split_watermark_lag_seconds",
            "Processing time less the split's watermark.",
            labels=labels,
        )
        idle = GaugeMetricFamily("tidegate_split_idle", "1 when the split is idle, 0 when not.", labels=labels)
        for split in list(self._measures.splits.values()):
            values = [self._measures.job, split.operator_id, split.split_id]
            records.add_metric(values, split.records)
            idle.add_metric(values, int(split.idle))
            if split.record_lag is not None:
                record_lag.add_metric(values, split.record_lag)
            if split.byte_lag is not None:
                byte_lag.add_metric(values, split.byte_lag)
            if split.event_time_lag_ms is not None:
                time_lag.add_metric(values, split.event_time_lag_ms / 1000)
            if MIN_WATERMARK < split.watermark_ms < MAX_WATERMARK:
                watermark.add_metric(values, (now_ms - split.watermark_ms) / 1000)
        yield from (records, record_lag, byte_lag, time_lag, watermark, idle)

    def _checkpoints(self, now_ms: int) -> Iterator[Metric]:
        checkpoints = self._measures.checkpoints
        yield self._counter("checkpoints_completed", "Checkpoints that became usable.", checkpoints.completed)
        yield self._counter("checkpoints_failed", "Checkpoints that were given up.", checkpoints.failed)
        yield self._counter("checkpoints_unaligned", "Checkpoints that hold records in flight.", checkpoints.unaligned)
        yield self._histogram(
            "checkpoint_duration_seconds",
            "From trigger to manifest, of completed checkpoints.",
            checkpoints.durations,
        )
        age_ms = checkpoints.age_ms(now_ms)
        if checkpoints.last_id is None or age_ms is None:
            return
        yield self._gauge("checkpoint_last_id", "The newest completed checkpoint.", checkpoints.last_id)
        yield self._gauge("checkpoint_age_seconds", "Time since the last one completed.", age_ms / 1000)
        yield self._gauge(
            "checkpoint_last_duration_seconds",
            "Duration of the last one.",
            checkpoints.last_duration_ms / 1000,
        )
        yield self._gauge("checkpoint_last_size_bytes", "All files of the last one.", checkpoints.last_size_bytes)
        yield self._gauge(
            "checkpoint_last_uploaded_bytes", "New files of the last one.", checkpoints.last_uploaded_bytes
        )
        yield self._gauge(
            "checkpoint_last_sync_seconds",
            "Longest time that a subtask stood still for the last one.",
            checkpoints.last_sync_ms / 1000,
        )
        yield self._gauge(
            "checkpoint_last_alignment_seconds",
            "Longest time that a subtask held back inputs for the last one.",
            checkpoints.last_alignment_ms / 1000,
        )
        yield self._gauge(
            "checkpoint_last_in_flight_bytes",
            "Records in flight in the last one; 0 unless it is unaligned.",
            checkpoints.last_in_flight_bytes,
        )

    def _job(self) -> Iterator[Metric]:
        measures = self._measures
        yield self._histogram(
            "latency_seconds", "From a record's arrival in the source to the sink's commit.", measures.latency
        )
        yield self._histogram(
            "event_loop_lag_seconds",
            "How much later than asked the event loop woke up.",
            measures.event_loop_lag,
        )
        yield self._gauge("state_bytes", "All state, in memory and on disk.", measures.state_bytes)
        yield self._gauge("attempt", "The running attempt, from 1.", measures.attempt)
        yield self._counter("restarts", "Restarts after a failure.", measures.restarts)
        yield self._counter(
            "recovery_seconds",
            "Time from failures to running again, summed.",
            sum(measures.recovery_ms) / 1000,
        )
        if measures.recovery_ms:
            yield self._gauge(
                "last_recovery_seconds",
                "The last time from failure to running again.",
                measures.recovery_ms[-1] / 1000,
            )

    def _counter(self, name: str, text: str, value: float) -> Metric:
        family = CounterMetricFamily(f"tidegate_{name}", text, labels=["job"])
        family.add_metric([self._measures.job], value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"tidegate_{name}", text, labels=["job"])
        family.add_metric([self._measures.job], value)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        """One exported bucket per doubling: what a dashboard needs, at a quarter of the series."""
        family = HistogramMetricFamily(f"tidegate_{name}", text, labels=["job"])
        buckets: list[tuple[str, float]] = []
        below = 0
        for i, bound in enumerate(BOUNDS):
            below += histogram.counts[i]
            if i % BUCKETS_PER_DOUBLING == 0:
                buckets.append((f"{bound:g}", below))
        buckets.append(("+Inf", below + histogram.counts[-1]))
        family.add_metric([self._measures.job], buckets, histogram.sum_s)
        return family


@asynccontextmanager
async def serve_metrics(measures: JobMeasures, clock: Clock, host: str, port: int) -> AsyncIterator[int]:
    """Give out the metrics at `http://host:port/metrics` until the block ends; gives the port (port 0 picks
    one).

    When the block ends the socket and all connections are closed, and nothing runs any more.

    Raises:
        ConfigError: the address cannot be listened on; names it.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MeasuresCollector(measures, clock))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read_request(reader)
        if request is None:
            return
        method, path, accept = request
        if method not in ("GET", "HEAD"):
            status, kind, body = "405 Method Not Allowed", "text/plain", b"only GET is answered\n"
        elif path != "/metrics":
            status, kind, body = "404 Not Found", "text/plain", b"the metrics are at /metrics\n"
        else:
            encode, kind = choose_encoder(accept)
            status, body = "200 OK", encode(registry)
        lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
        head = "\r\n".join((*lines, "Connection: close", "", ""))
        writer.write(head.encode("latin-1") + (b"" if method == "HEAD" else body))
        await writer.drain()

    async def listen(handler: Handler) -> asyncio.Server:
        try:
            return await asyncio.start_server(handler, host, port)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"metrics_port = {port}: cannot listen on {host}:{port}: {reason}") from None

    async with serving(answer, listen) as server:
        yield server.sockets[0].getsockname()[1]


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, str] | None:
    """Method, path and the `Accept` header of a request; None when it is none."""
    first, *headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        return None
    accept = ""
    for header in headers:
        name, _, value = header.partition(":")
        if name.strip().lower() == "accept":
            accept = value.strip()
    return words[0], words[1].partition("?")[0], accept
