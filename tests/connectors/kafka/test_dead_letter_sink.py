"""What a job cannot use goes to a topic with its story, and comes back when it is asked for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tidegate.connectors import formats, kafka, memory
from tidegate.connectors.kafka.dead_letter_sink import headers_of
from tidegate.engine import RunConfig, Topology, start
from tidegate.operators import DeadLetter

pytestmark = pytest.mark.slow


class Order(msgspec.Struct):
    """A record of the tests."""

    id: int
    amount: int


def _write(servers: str, topic: str, *values: bytes, **headers: bytes) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for number, value in enumerate(values):
        producer.produce(topic, value, b"key-%d" % number, headers=list(headers.items()))
    assert producer.flush(30) == 0


def _read(servers: str, topic: str) -> list[Any]:
    """All messages of a topic that a reader of committed records sees."""
    settings = {"bootstrap.servers": servers, "group.id": "tests", "isolation.level": "read_committed"}
    consumer = Consumer(settings | {"enable.partition.eof": True, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found = []
    while (message := consumer.poll(30)) is not None:
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF
            break
        found.append(message)
    consumer.close()
    return found


async def _run(servers: str, orders: str, letters: str, sink: Any, share: Any, values: int, folder: Path) -> None:
    """The job, until so many values have come out and everything there is has been read."""
    topology = Topology(orders)
    read = topology.source("orders", kafka.source(servers, orders, format=formats.json(Order)), on_error="dead_letter")
    used = read.map(share, name="share", on_error="dead_letter")
    failed = read.side_output("failed").union(used.side_output("failed"))
    failed.sink("failed", kafka.dead_letters(servers, letters))
    used.sink("out", sink)
    async with start(topology, RunConfig(checkpoints=folder / "state", checkpoint_interval="100ms")) as job:
        async with asyncio.timeout(60):
            while len(sink.values) < values or job.measures.split("orders", f"{orders}-0").record_lag != 0:
                await job.clock.sleep(0.01)
        await job.drain()


@pytest.fixture
async def failed(kafka_servers: str, new_topic: Callable[..., str], tmp_path: Path) -> tuple[str, str, Any]:
    """The topics of orders and of letters, and the sink, after a run over four orders of which two could not be used."""
    orders, letters = new_topic(), new_topic()
    values = [b'{"id":1,"amount":5}', b'{"id":2,"amo\xff', b'{"id":3,"amount":0}', b'{"id":4,"amount":50}']
    _write(kafka_servers, orders, *values, trace=b"abc")
    sink = memory.sink()
    await _run(kafka_servers, orders, letters, sink, lambda o: 100 // o.amount, 2, tmp_path)
    assert sink.values == [20, 2]
    return orders, letters, sink


def test_a_letter_names_the_place_and_the_reason(failed: tuple[str, str, Any], kafka_servers: str) -> None:
    """The poison message itself where it could not be decoded, else the record; the headers say the rest."""
    orders, letters, _ = failed
    found = {dict(m.headers())["tidegate.offset"]: m for m in _read(kafka_servers, letters)}
    assert sorted(found) == [b"1", b"2"]
    poison, divided = found[b"1"], found[b"2"]
    assert (poison.value(), divided.value()) == (b'{"id":2,"amo\xff', b'{"id":3,"amount":0}')
    told = dict(poison.headers())
    assert (told["tidegate.topic"], told["tidegate.partition"]) == (orders.encode(), b"0")
    assert (told["tidegate.operator"], told["tidegate.attempt"], told["tidegate.value"]) == (
        b"orders",
        b"1",
        b"original",
    )
    assert b"truncated" in told["tidegate.error"] or b"UTF-8" in told["tidegate.error"]
    told = dict(divided.headers())
    assert told["tidegate.operator"] == b"share"
    assert told["tidegate.error"].startswith(b"ZeroDivisionError")
    assert told["tidegate.value"] == b"json"


def test_a_letter_of_another_system_has_no_place() -> None:
    """What was not read from Kafka cannot be sent back to it, and its headers say no more than is known."""
    letter = DeadLetter(value="x", error="bad", operator="parse", attempt=3, split="in.csv", offset="line 7")
    assert headers_of(letter) == [
        ("tidegate.error", b"bad"),
        ("tidegate.operator", b"parse"),
        ("tidegate.attempt", b"3"),
        ("tidegate.value", b"json"),
    ]


APP = """
from pathlib import Path
from tidegate.connectors import kafka, memory
from tidegate.engine import Topology

topology = Topology({job!r})
bad = topology.source("nothing", memory.source([])).map(lambda x: x, name="same")
bad.side_output("failed").sink("failed", kafka.dead_letters({servers!r}, {letters!r}))
"""


def _redrive(folder: Path, servers: str, job: str, letters: str, *options: str) -> Any:
    (folder / "app.py").write_text(APP.format(servers=servers, job=job, letters=letters))
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "redrive", "app.py", "--json", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_redrive_sends_each_original_once(failed: tuple[str, str, Any], kafka_servers: str, tmp_path: Path) -> None:
    """Key, headers, time and value are those of the original; a second redrive begins behind the first."""
    orders, letters, _ = failed
    before = _read(kafka_servers, orders)
    looked = _redrive(tmp_path, kafka_servers, orders, letters, "--dry-run")
    assert (looked["sent"], looked["dry_run"]) == (2, True)
    assert len(_read(kafka_servers, orders)) == len(before)
    assert _redrive(tmp_path, kafka_servers, orders, letters, "--limit", "1")["sent"] == 1
    assert _redrive(tmp_path, kafka_servers, orders, letters)["sent"] == 1
    assert _redrive(tmp_path, kafka_servers, orders, letters)["sent"] == 0
    again = sorted(_read(kafka_servers, orders)[len(before) :], key=lambda m: m.key())
    assert [(m.key(), m.value(), m.timestamp()) for m in again] == [
        (m.key(), m.value(), m.timestamp()) for m in before[1:3]
    ]
    assert [m.headers() for m in again] == [[("trace", b"abc"), ("tidegate.redriven", b"1")]] * 2


async def test_what_was_redriven_goes_through_the_topology_again(
    failed: tuple[str, str, Any], kafka_servers: str, tmp_path: Path
) -> None:
    """A job that goes on from its checkpoint reads the originals again, with its mended code."""
    orders, letters, sink = failed
    _redrive(tmp_path, kafka_servers, orders, letters)
    await _run(kafka_servers, orders, letters, sink, lambda o: 100 // (o.amount or 1), 3, tmp_path)
    assert sink.values == [20, 2, 100]
    assert len(_read(kafka_servers, letters)) == 3


def test_an_original_that_retention_took_comes_from_the_letter(
    failed: tuple[str, str, Any], kafka_servers: str, tmp_path: Path
) -> None:
    """Where the letter holds the very bytes they are sent; of a decoded record nothing is left to send."""
    orders, letters, _ = failed
    admin = AdminClient({"bootstrap.servers": kafka_servers})
    admin.delete_records([TopicPartition(orders, 0, 4)])[TopicPartition(orders, 0)].result(30)
    assert _redrive(tmp_path, kafka_servers, orders, letters) == {
        "sink": "failed",
        "sent": 1,
        "gone": 1,
        "foreign": 0,
        "dry_run": False,
    }
    assert [m.value() for m in _read(kafka_servers, orders)] == [b'{"id":2,"amo\xff']


def test_redrive_of_a_topology_without_dead_letters_says_so(tmp_path: Path) -> None:
    """A usage error in one line, with the exit code of one."""
    (tmp_path / "app.py").write_text(
        "from tidegate.connectors import memory\nfrom tidegate.engine import Topology\n"
        "topology = Topology('t')\ntopology.source('s', memory.source([])).sink('out', memory.sink())\n"
    )
    command = [sys.executable, "-m", "tidegate.engine.cli.main", "redrive", "app.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no sink of the topology keeps dead letters" in done.stderr
    assert done.stderr.count("\n") == 1
