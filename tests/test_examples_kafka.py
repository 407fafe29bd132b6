"""The Kafka examples and their tutorial, on a real broker: a plain consumer of committed records looks at what came out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
TUTORIAL = (ROOT / "docs" / "tutorial-kafka.md").read_text()
WINDOW_MS = 10_000
PATIENCE_S = 90
SHOPS = ("Lisbon", "Oslo", "Turin")


class Programs:
    """Starts programs beside the topics of one test, and ends what is left of them."""

    def __init__(self, folder: Path, servers: str, orders: str) -> None:
        self.folder = folder
        self.servers = servers
        self.orders = orders
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "KAFKA_SERVERS": servers,
            "ORDERS_TOPIC": orders,
        }
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *command: str) -> subprocess.Popen[str]:
        """What it writes goes into files; `told` reads them."""
        number = len(self._processes)
        with (self.folder / f"{number}.out").open("w") as out:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self._environment, stdout=out, stderr=subprocess.STDOUT, text=True
            )
        self._processes.append(process)
        return process

    def told(self, process: subprocess.Popen[str]) -> str:
        return (self.folder / f"{self._processes.index(process)}.out").read_text()

    def stop(self, process: subprocess.Popen[str], sign: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        process.send_signal(sign)
        return process.wait(PATIENCE_S)

    def run(self, *command: str) -> str:
        """What it told, when it ended well."""
        process = self.start(*command)
        assert process.wait(PATIENCE_S) == 0, self.told(process)
        return self.told(process)

    def lines(self, count: int, *program: str) -> list[str]:
        """The first ones that a program without end prints; it ends well when it is told to."""
        with subprocess.Popen(
            [sys.executable, *program], cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, text=True
        ) as process:
            self._processes.append(process)
            assert process.stdout is not None
            found = [process.stdout.readline().rstrip("\n") for _ in range(count)]
            assert self.stop(process) == 0
        return found

    def alive(self, *processes: subprocess.Popen[str]) -> None:
        for process in processes:
            assert process.poll() is None, self.told(process)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def programs(tmp_path: Path, kafka_servers: str, request: pytest.FixtureRequest) -> Iterator[Programs]:
    """In a folder with the examples, with topics that nobody else uses."""
    for example in EXAMPLES.glob("kafka_*.py"):
        (tmp_path / example.name).write_text(example.read_text())
    name = re.sub(r"\W+", "-", request.node.name).strip("-")
    with ExitStack() as held:
        made = Programs(tmp_path, kafka_servers, f"{name}-{os.getpid()}-{time.time_ns()}")
        held.callback(made.close)
        yield made


@pytest.mark.parametrize("way", ["as programs", "by the command line"])
def test_the_examples_write_and_read_orders(programs, way):
    """The windows that a plain consumer of committed records sees are those of the orders; a SIGTERM ends both with 0."""
    command = [sys.executable, "-W", "error"]
    if way == "by the command line":
        command = ["tidegate", "run", "--checkpoints", "state", "--interval", "1s", "--metrics-port", "none"]
    made = programs.run(sys.executable, "-W", "error", "kafka_topics.py")
    assert programs.run(sys.executable, "kafka_topics.py") == "all topics are there\n"
    orders = programs.start(*command, "kafka_orders.py")
    windows = programs.start(*command, "kafka_windows.py")
    _wait_for(programs, ".windows", lambda found: len(_starts(found)) >= 2, orders, windows)
    ended = [programs.stop(orders), programs.stop(windows)]
    results = _read(programs, ".windows")
    assert ended == [0, 0], (programs.told(orders), programs.told(windows))
    assert made == f"made {programs.orders}, {programs.orders}.windows, {programs.orders}.failed\n"
    assert {message.partition() for message in _read(programs)} == {0, 1, 2, 3}
    assert _rows(results) == _computed(_read(programs), max(_starts(results)))
    assert _read(programs, ".failed") == []


def test_the_tutorial_keeps_its_word(programs):
    """Killed and started again, with an order that cannot be read until the code is mended: every window is there once."""
    for file, text in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE):
        (programs.folder / file).write_text(
            text.replace('send_and_wait("orders"', f'send_and_wait("{programs.orders}"')
        )
    run = ["tidegate", "run", "--checkpoints", "state", "--interval", "1s", "--metrics-port", "none"]
    programs.run(sys.executable, "kafka_topics.py")
    orders = programs.start(*run, "kafka_orders.py")
    windows = programs.start(*run, "kafka_windows.py")
    _wait_for(programs, ".windows", lambda found: len(_starts(found)) >= 1, orders, windows)
    assert programs.stop(windows, signal.SIGKILL) == -signal.SIGKILL
    windows = programs.start(*run, "kafka_windows.py")

    programs.run(sys.executable, "poison.py")
    (letter,) = _wait_for(programs, ".failed", lambda found: len(found) == 1, orders, windows)
    assert programs.stop(windows) == 0, programs.told(windows)
    assert "restored_from=" in programs.told(windows)
    headers = {name: value.decode() for name, value in letter.headers()}
    assert letter.value() == b'{"id": -1, "customer": "customer-1", "amount": 1000}'
    assert {headers.pop(f"tidegate.{name}") for name in ("partition", "offset")} == {
        str(part) for message in _read(programs) if message.value() == letter.value() for part in _place(message)
    }
    assert headers == {
        "tidegate.topic": programs.orders,
        "tidegate.error": "Object missing required field `shop`",
        "tidegate.operator": "orders",
        "tidegate.attempt": "2",
        "tidegate.value": "original",
    }

    program = (programs.folder / "kafka_windows.py").read_text()
    (mended,) = re.findall(r"^ +shop: str = .*$", TUTORIAL, re.MULTILINE)
    (programs.folder / "kafka_windows.py").write_text(program.replace("    shop: str\n", f"{mended}\n"))
    windows = programs.start(*run, "kafka_windows.py")
    assert programs.run("tidegate", "redrive", "kafka_windows.py") == "failed: 1 originals sent again\n"
    assert programs.run("tidegate", "redrive", "kafka_windows.py") == "failed: 0 originals sent again\n"
    _wait_for(programs, ".windows", lambda found: b"online" in {message.key() for message in found}, orders, windows)
    assert [programs.stop(orders), programs.stop(windows)] == [0, 0], programs.told(windows)
    results = _read(programs, ".windows")
    assert _rows(results) == _computed(_read(programs), max(_starts(results)))

    assert sorted(programs.lines(len(results), "show.py", f"{programs.orders}.windows")) == sorted(
        message.value().decode() for message in results
    )
    (line,) = programs.lines(1, "show.py", f"{programs.orders}.failed")
    assert line.startswith(f"{letter.value().decode()} tidegate.topic={programs.orders} ")


def test_the_program_of_the_tutorial_is_the_example():
    """One text in two places."""
    (program,) = re.findall(r"^```python\n# kafka_windows.py\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)
    assert (EXAMPLES / "kafka_windows.py").read_text().endswith(f'"""\n\n{program}')


def _place(message: Message) -> tuple[int, int]:
    return message.partition(), message.offset()


def _starts(results: list[Message]) -> set[int]:
    """The windows for which every shop has a result: as their orders are many, that is every window."""
    rows = [json.loads(message.value()) for message in results]
    return {row["start_ms"] for row in rows if row["key"] in SHOPS}


def _rows(results: list[Message]) -> list[tuple[Any, ...]]:
    """Sorted, with their keys; one that came twice is there twice."""
    rows = [(message.key().decode(), json.loads(message.value())) for message in results]
    assert [key for key, row in rows if key != row["key"]] == []
    return sorted((key, row["start_ms"], row["orders"], row["total"], row["largest"]) for key, row in rows)


def _computed(orders: list[Message], last_start_ms: int) -> list[tuple[Any, ...]]:
    """What must come out: computed from the orders as they stand in their topic."""
    amounts: dict[tuple[str, int], list[int]] = defaultdict(list)
    seen = set()
    for message in orders:
        order = json.loads(message.value())
        start_ms = message.timestamp()[1] // WINDOW_MS * WINDOW_MS
        if "shop" not in order and message.headers() is None:
            continue  # it became a dead letter; its second coming counts
        seen.add(order["id"])
        if start_ms <= last_start_ms:
            amounts[order.get("shop", "online"), start_ms].append(order["amount"])
    assert len(seen) > 1000
    return sorted((*place, len(of), sum(of), max(of)) for place, of in amounts.items())


def _read(programs: Programs, topic: str = "") -> list[Message]:
    """All messages that are committed now."""
    with ExitStack() as held:
        consumer = _consumer(programs, topic, held)
        found, ended, partitions = [], set(), consumer.assignment()
        while len(ended) < len(partitions):
            message = consumer.poll(30)
            assert message is not None, f"{topic}: nothing more, and not at the end"
            if message.error() is None:
                found.append(message)
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
        return found


def _wait_for(
    programs: Programs, topic: str, enough: Callable[[list[Message]], bool], *alive: subprocess.Popen[str]
) -> list[Message]:
    """The messages as they are committed, until there are enough."""
    found: list[Message] = []
    deadline = time.monotonic() + PATIENCE_S
    with ExitStack() as held:
        consumer = _consumer(programs, topic, held)
        while not enough(found):
            assert time.monotonic() < deadline, f"{topic}: only {len(found)} messages"
            programs.alive(*alive)
            message = consumer.poll(1)
            if message is not None and message.error() is None:
                found.append(message)
    return found


def _consumer(programs: Programs, topic: str, held: ExitStack) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": programs.servers,
            "group.id": "examples-test",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "log_level": 3,
        }
    )
    held.callback(consumer.close)
    name = f"{programs.orders}{topic}"
    partitions = consumer.list_topics(name, timeout=30).topics[name].partitions
    consumer.assign([TopicPartition(name, partition, OFFSET_BEGINNING) for partition in partitions])
    return consumer
