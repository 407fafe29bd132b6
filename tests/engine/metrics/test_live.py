"""The live table."""

from io import StringIO

from rich.console import Console
from tidegate.engine.metrics import JobMeasures
from tidegate.engine.metrics.live import count, duration, render, size


def shown(job: JobMeasures, why: list[str] | None = None) -> str:
    """The table as text."""
    console = Console(file=StringIO(), width=120, record=True)
    console.print(render(job.snapshot(60_000), None, 2.0, why or []))
    return console.export_text()


def test_the_table_shows_rates_checkpoint_latency_and_reasons() -> None:
    """All that a person asks first."""
    job = JobMeasures("flights")
    source = job.operator("in", 0, "source")
    source.records_in, source.errors, source.watermark_ms = 5_000, 3, 55_000
    chain = job.subtask("in", 0, ("in",))
    chain.busy_s, chain.idle_s = 1.0, 1.0
    job.checkpoints.complete(7, 58_000, 42.0, size_bytes=5_000_000)
    job.latency.add(0.004, 5)
    text = shown(job, ["split f holds the watermark back"])
    for part in ("2.50k", "50%", "5.0s", "#7 in 42.0ms, 5.0 MB, 2.0s ago", "p99 4.0ms", "split f holds"):
        assert part in text


def test_a_job_that_has_not_begun_can_be_shown() -> None:
    """Nothing is known yet."""
    text = shown(JobMeasures("flights"))
    assert "none yet" in text
    assert "p50 –, p99 –" in text


def test_names_are_not_taken_for_markup() -> None:
    """An operator may be called like a style."""
    job = JobMeasures("flights")
    job.operator("[red]x", 0)
    assert "[red]x" in shown(job)


def test_failed_checkpoints_and_restarts_are_shown_when_there_are_any() -> None:
    """With the reason and the last recovery time."""
    job = JobMeasures("flights")
    job.checkpoints.fail("disk full")
    job.recovered(1500.0)
    text = shown(job)
    assert "1 failed: disk full" in text
    assert "last recovery 1.5s" in text


def test_numbers_are_short() -> None:
    """Three digits and a unit."""
    assert [count(n) for n in (0, 0.5, 999, 1_234, 123_456, 7e9)] == ["0", "0.5", "999", "1.23k", "123k", "7.00G"]
    assert [size(n) for n in (1, 2_500, 3_000_000_000)] == ["1 B", "2.5 kB", "3.0 GB"]
    assert [duration(s) for s in (0.25, 3.0, 3_700, -2.0)] == ["250.0ms", "3.0s", "1h1m", "-2.0s"]
