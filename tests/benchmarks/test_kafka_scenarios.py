"""The engine's and the clients' sides of the Kafka scenarios, with few records on the broker of the tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks.kafka_broker import running_broker
from benchmarks.kafka_results import results_topic
from benchmarks.kafka_topics import create, fill
from benchmarks.peers import environment
from benchmarks.scenario import BenchmarkError, Broker, Setup, load

N_BIDS = 20_000


def unheard(_: str) -> None:
    """Nobody is told."""


@pytest.fixture
def setup(bids: Path, tmp_path: Path, kafka_servers: str, request: pytest.FixtureRequest) -> Setup:
    """A repetition over bids of its own."""
    own = tmp_path / "bids" / bids.name
    own.parent.mkdir()
    shutil.copyfile(bids, own)
    work = tmp_path / f"{tmp_path.parent.name}-{tmp_path.name}"
    work.mkdir()
    return Setup(N_BIDS, own, work, broker=Broker(kafka_servers, os.getpid()))


@pytest.mark.slow
def test_all_sides_read_the_same(setup: Setup) -> None:
    """The engine and both clients, compared with DuckDB."""
    scenario = load("kafka-source")
    assert scenario.prepare is not None
    assert scenario.check is not None
    scenario.prepare(setup, unheard)
    for side, measure in scenario.sides.items():
        assert measure(setup)["run_s"] > 0
        scenario.check(setup, side)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kafka-sink", "kafka-stateless", "kafka-window"])
def test_all_sides_write_what_duckdb_says(name: str, setup: Setup) -> None:
    """The engine with both guarantees, and the clients; other engines are not started here."""
    scenario = load(name)
    assert scenario.check is not None
    if scenario.prepare is not None:
        fill(setup.kafka.servers, setup.bids, N_BIDS)
    for side in ("exactly-once", "at-least-once", "confluent-kafka", "aiokafka"):
        if side in scenario.sides:
            figures = scenario.sides[side](setup)
            assert figures["events"] == N_BIDS
            scenario.check(setup, side)


@pytest.mark.slow
def test_committed_results_that_are_not_all_there_have_no_speed(setup: Setup) -> None:
    """An empty topic is missing every row."""
    scenario = load("kafka-sink")
    assert scenario.check is not None
    create(setup.kafka.servers, results_topic(setup, "exactly-once"))
    with pytest.raises(BenchmarkError, match=f"copy, exactly-once: the results are wrong: {N_BIDS} rows are missing"):
        scenario.check(setup, "exactly-once")


@pytest.mark.slow
def test_a_latency_is_measured_by_other_processes(setup: Setup) -> None:
    """From a writer to a watcher, through a job in this one."""
    figures = load("kafka-latency").sides["exactly-once"](Setup(26_000, setup.bids, setup.work, broker=setup.broker))
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["worst_ms"]
    assert figures["since_due_p99_ms"] > 0


def test_without_java_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """And names the scenario."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BenchmarkError) as refused, running_broker("kafka-source"):
        pass
    assert str(refused.value).startswith("kafka-source: Kafka needs Java: install a JRE")
    assert "\n" not in str(refused.value)


def peer(*packages: str) -> Any:
    """A contender with these packages."""
    module: Any = ModuleType("benchmarks.peers.nobody")
    module.LABEL, module.PACKAGES = "nobody", packages
    return module


def test_a_peer_with_other_packages_has_another_environment(tmp_path: Path) -> None:
    """An old one is not taken for the new one."""
    assert environment.python_of(tmp_path, peer("a==1")) == environment.python_of(tmp_path, peer("a==1"))
    assert environment.python_of(tmp_path, peer("a==1")) != environment.python_of(tmp_path, peer("a==2"))


@pytest.mark.slow
def test_a_peer_that_cannot_be_installed_is_named_with_what_to_do(tmp_path: Path) -> None:
    """In one line; nothing half made is left."""
    nowhere = peer(str(tmp_path / "nothing-1-py3-none-any.whl"))
    with pytest.raises(BenchmarkError, match=r"^nobody cannot be installed: .*; let pip reach an index") as refused:
        environment.ensure(tmp_path, nowhere, unheard)
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "peers").iterdir()) == []
