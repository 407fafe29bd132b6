"""What all tests share: how hypothesis works, a real object store, and a real broker for the Kafka tests, the first of these
that there is:

1. `TIDEGATE_KAFKA=host:port` names one.
2. A Docker engine answers: a container, one for each test process.
3. Java and Maven are there: a broker of the testing kit, one for all test processes of a run. It runs in a process of its
   own that waits for an exclusive lock on the file on which each test process holds a shared one. Locks go with
   their processes, so it ends with the last of them, however they end.

Otherwise the tests are skipped with the reason. Where `java` and `mvn` are on the PATH they are never skipped: a broker that
does not come up is then an error of each test, so that no run passes because its broker was broken.

Files of tests are real ones, but where there is enough memory they are kept in it, unless `TMPDIR` says otherwise. No test
ends the machine, so none can tell; those that crash processes by the hundred would wait for the disk most of the time.

The object store is the testing kit's, one for each test process. It needs Go once, to be built; where there is no Go the tests
are skipped.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tidegate.engine.checkpoint.store_options import StoreSettings
from tidegate.engine.testing.s3_server import LocalS3, gateway_is_built
from tidegate.engine.testing.servers import ServerUnavailableError

_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 << 30


def _memory_available() -> int:
    """Bytes that files in memory may take here."""
    try:
        facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return min(shutil.disk_usage(_MEMORY).free, int(facts["MemAvailable"].split()[0]) << 10)
    except (OSError, KeyError):
        return 0


if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK) and _memory_available() >= _ENOUGH_BYTES:
    # Inherited by all that tests start.
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None

# Examples are derived from the test itself, so a failure on one machine is a failure on every machine. Two
# cores shared by parallel test processes say nothing about a single example's time: no deadline.
settings.register_profile(
    "tidegate", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("tidegate")


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The servers of a real broker, shared by all tests: use topics, groups and transactional ids of your own."""
    if named := os.environ.get("TIDEGATE_KAFKA"):
        yield named
    elif _docker_answers():
        from testcontainers.kafka import KafkaContainer  # an extra, and only of use here

        with KafkaContainer().with_kraft() as container:
            yield container.get_bootstrap_server()
    elif missing := [program for program in ("java", "mvn") if shutil.which(program) is None]:
        pytest.skip(f"no broker: TIDEGATE_KAFKA is not set, no Docker engine answers, no {' and no '.join(missing)}")
    else:
        folder = tmp_path_factory.getbasetemp()
        # Each process of a parallel run has a folder of its own below that of the run.
        with _shared_broker(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as servers:
            yield servers


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """A real object store, shared by all tests of a process: use prefixes of your own."""
    if shutil.which("go") is None and not gateway_is_built():
        pytest.skip("no object store: it is not built, and there is no Go (go) to build it with")
    with LocalS3() as store:
        yield store


@pytest.fixture
def s3_settings(s3: LocalS3) -> StoreSettings:
    """How that store is spoken to by tests: with little patience."""
    return StoreSettings(s3.options, request_timeout_s=10, patience_s=2)


@pytest.fixture
def s3_url(s3: LocalS3, request: pytest.FixtureRequest) -> str:
    """A prefix of the store that no other test uses."""
    test = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:60].strip("-")
    return s3.url(f"{test}-{secrets.token_hex(4)}")


@pytest.fixture
def new_topic(kafka_servers: str, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Makes topics: `new_topic(partitions=4, cleanup_policy="compact")` is the name of one that nobody else uses.

    It is there with a leader for each partition. Settings are those of Kafka with underscores for dots.
    """
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka_servers, "log_level": 3})
    test = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:80].strip("-")

    def make(partitions: int = 1, **settings: object) -> str:
        name = f"{test}-{secrets.token_hex(4)}"
        config = {key.replace("_", "."): str(value) for key, value in settings.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=config)
        admin.create_topics([topic])[name].result(30)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = admin.list_topics(name, timeout=30).topics[name]
            if found.error is None and [p.leader >= 0 for p in found.partitions.values()] == [True] * partitions:
                return name
        raise AssertionError(f"topic {name} has no leaders")

    return make


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, timeout=30, check=False
    )
    return asked.returncode == 0


@contextmanager
def _shared_broker(folder: Path) -> Iterator[str]:
    """The servers of the run's broker, which stays for as long as this is open somewhere."""
    running = folder / "kafka-running"  # the name of the lock, and the servers
    with ExitStack() as held:
        with (folder / "kafka-starting").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not (running.exists() and _joined(folder / running.read_text().split()[0], held)):
                path = folder / f"kafka-lock-{secrets.token_hex(4)}"
                fcntl.flock(held.enter_context(path.open("w")), fcntl.LOCK_SH)
                running.write_text(f"{path.name} {_start_broker(path)}")
        yield running.read_text().split()[1]


def _joined(path: Path, held: ExitStack) -> bool:
    """Whether the broker that lives on this lock is there to stay; then the lock is shared until `held` ends."""
    try:
        lock = held.enter_context(path.open())
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        return False
    return os.fstat(lock.fileno()).st_nlink > 0  # the broker removes it when it goes


def _start_broker(lock: Path) -> str:
    broker = [sys.executable, "-m", "tidegate.engine.testing.kafka", "--while-locked", str(lock)]
    errors = lock.with_suffix(".errors")
    # The shell leaves it behind, a child of nobody: it outlives the test process that happened to be the first.
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            ["/bin/sh", "-c", '"$@" &', "sh", *broker],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        ) as shell,
    ):
        assert shell.stdout is not None
        servers = shell.stdout.readline().strip()
    if not servers:
        raise ServerUnavailableError(errors.read_text().strip())
    return servers
