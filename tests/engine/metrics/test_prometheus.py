"""The metrics as Prometheus reads them, over real HTTP."""

import asyncio
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tidegate.engine.errors import ConfigError
from tidegate.engine.metrics import JobMeasures
from tidegate.engine.metrics.prometheus import serve_metrics
from tidegate.engine.testing.clock import ManualClock

HOST = "127.0.0.1"


async def fetch(port: int, path: str = "/metrics", method: str = "GET") -> tuple[str, str]:
    """Status line and body of an answer."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.split("\r\n")[0], body


def filled(clock: ManualClock) -> JobMeasures:
    """Measures with a value for every metric."""
    job = JobMeasures("flights")
    operator = job.operator("in", 0, "source")
    operator.records_in, operator.watermark_ms = 5, clock.now_ms() - 2_000
    operator.count("rule", 3)
    job.subtask("in", 0, ("in",)).busy_s = 1.5
    split = job.split("in", "f")
    split.record_lag, split.byte_lag, split.event_time_lag_ms = 7, 70, 700
    split.watermark_ms = clock.now_ms() - 3_000
    job.checkpoints.complete(4, clock.now_ms() - 1_000, 50.0, size_bytes=99)
    job.latency.add(0.003, 10)
    job.recovered(250.0)
    return job


async def test_every_measure_can_be_scraped() -> None:
    """Names, labels and values, as the parser of the client library reads them."""
    clock = ManualClock()
    async with serve_metrics(filled(clock), clock, HOST, 0) as port:
        status, body = await fetch(port)
    assert status == "HTTP/1.1 200 OK"
    samples = {
        (s.name, *(v for k, v in sorted(s.labels.items()) if k != "job")): s.value
        for family in text_string_to_metric_families(body)
        for s in family.samples
    }
    assert samples["tidegate_records_in_total", "in", "0"] == 5
    assert samples["tidegate_operator_count_total", "rule", "in", "0"] == 3
    assert samples["tidegate_watermark_lag_seconds", "in", "0"] == 2.0
    assert samples["tidegate_subtask_time_seconds_total", "in", "busy", "0"] == 1.5
    assert samples["tidegate_source_record_lag", "in", "f"] == 7
    assert samples["tidegate_source_byte_lag", "in", "f"] == 70
    assert samples["tidegate_source_event_time_lag_seconds", "in", "f"] == 0.7
    assert samples["tidegate_split_watermark_lag_seconds", "in", "f"] == 3.0
    assert samples["tidegate_checkpoint_age_seconds",] == 1.0
    assert samples["tidegate_checkpoint_last_size_bytes",] == 99
    assert samples["tidegate_latency_seconds_bucket", "0.002"] == 0
    assert samples["tidegate_latency_seconds_bucket", "0.004"] == 10
    assert samples["tidegate_latency_seconds_count",] == 10
    assert samples["tidegate_last_recovery_seconds",] == 0.25
    assert samples["tidegate_restarts_total",] == 1


async def test_a_job_that_has_not_begun_can_be_scraped() -> None:
    """No operators, no checkpoints, no watermark: no values, and no error."""
    async with serve_metrics(JobMeasures("flights"), ManualClock(), HOST, 0) as port:
        status, body = await fetch(port)
    assert status == "HTTP/1.1 200 OK"
    assert 'tidegate_checkpoints_completed_total{job="flights"} 0.0' in body
    assert "tidegate_checkpoint_age_seconds" not in body


async def test_other_requests_are_answered_in_a_sentence() -> None:
    """A wrong path, a wrong method, and noise."""
    async with serve_metrics(JobMeasures("flights"), ManualClock(), HOST, 0) as port:
        assert await fetch(port, "/") == ("HTTP/1.1 404 Not Found", "the metrics are at /metrics\n")
        assert (await fetch(port, method="POST"))[0] == "HTTP/1.1 405 Method Not Allowed"
        assert (await fetch(port, method="HEAD"))[1] == ""
        assert (await fetch(port, "/a b"))[0] == ""


async def test_nothing_is_left_when_the_block_ends() -> None:
    """No thread, no asyncio task and no socket, also with a client that never asks."""
    threads = threading.active_count()
    async with serve_metrics(JobMeasures("flights"), ManualClock(), HOST, 0) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        await fetch(port)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert threading.active_count() == threads
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(OSError):
        await asyncio.open_connection(HOST, port)


async def test_a_port_that_is_taken_is_named() -> None:
    """The setting and the address are in the message."""
    clock = ManualClock()
    async with serve_metrics(JobMeasures("a"), clock, HOST, 0) as port:
        with pytest.raises(ConfigError, match=f"metrics_port = {port}: cannot listen on {HOST}:{port}"):
            async with serve_metrics(JobMeasures("b"), clock, HOST, port):
                pass
