"""The Kafka source when brokers die, move, refuse us or say nothing. Each cluster is the test's own."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from tidegate.connectors import SourceError, files, formats, kafka, memory
from tidegate.engine import RunConfig, Topology, restart, start
from tidegate.engine.errors import JobError
from tidegate.engine.testing.kafka import LocalKafka
from tidegate.engine.testing.stalling_proxy import StallingProxy

from .sources import DEADLINE_S, LiveSourceContext, in_thread, produce, read_all, reading, unused_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        any(shutil.which(program) is None for program in ("java", "mvn")), reason="a local broker needs Java and Maven"
    ),
]


def make_topic(servers: str, name: str, partitions: int = 1, replicas: int = 1, **settings: Any) -> str:
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 3, **settings})
    admin.create_topics([NewTopic(name, partitions, replicas)])[name].result(DEADLINE_S)
    for _ in range(1000):
        found = admin.list_topics(name, timeout=DEADLINE_S).topics[name].partitions
        if len(found) == partitions and all(p.leader >= 0 for p in found.values()):
            return name
    raise AssertionError(f"{name} has no leaders")


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not done():  # noqa: ASYNC110  # nothing tells when a sink has more
            await asyncio.sleep(0.01)


# --------------------------------------------------------------------- whole jobs


async def test_a_job_goes_on_when_its_only_broker_dies_and_comes_back(tmp_path):
    """Every record comes out once, with checkpoints going on, and without a restart of the job."""
    with LocalKafka() as cluster:
        topic = make_topic(cluster.servers, "numbers", partitions=3)
        for partition in range(3):
            produce(cluster.servers, topic, range(partition, 30_000, 3), partition)
        sink = memory.sink()
        topology = Topology("survivor")
        topology.source("numbers", kafka.source(cluster.servers, topic, format=formats.json(int))).sink("out", sink)
        config = RunConfig(checkpoints=tmp_path, checkpoint_interval="50ms", restart=restart.never())
        async with start(topology, config) as job:
            await until(lambda: len(sink.values) > 0)
            await in_thread(cluster.kill, 0)
            await in_thread(cluster.start, 0)
            for partition in range(3):
                await in_thread(produce, cluster.servers, topic, range(30_000 + partition, 60_000, 3), partition)
            await until(lambda: len(sink.values) >= 60_000)
            await in_thread(cluster.kill, 0)
            await job.checkpoint()
            await in_thread(cluster.start, 0)
            await in_thread(produce, cluster.servers, topic, [60_000], 1)
            await until(lambda: len(sink.values) >= 60_001)
            await job.stop()
        assert sorted(sink.values) == list(range(60_001))


async def test_a_job_that_began_at_the_end_loses_nothing_between_its_runs(tmp_path, kafka_servers, new_topic):
    """Stopped before it had read anything: what came while it was away is read when it goes on."""
    topic = new_topic(partitions=2)
    produce(kafka_servers, topic, ["old"])
    out = tmp_path / "out"

    def topology() -> Topology:
        it = Topology("latest")
        source = kafka.source(kafka_servers, topic, format=formats.json(str), start="latest")
        it.source("lines", source).sink("out", files.lines(out, formats.json()))
        return it

    config = RunConfig(checkpoints=tmp_path / "state", checkpoint_interval="50ms")
    async with start(topology(), config) as job:
        await job.began.wait()
        await job.checkpoint()
        await job.cancel()
    produce(kafka_servers, topic, ["between"], 1)
    async with start(topology(), config) as job:
        produce(kafka_servers, topic, ["after"], 0)
        await until(lambda: sum(p.read_text().count("\n") for p in out.rglob("*") if p.is_file()) >= 2)
        await job.stop()
    assert sorted("".join(p.read_text() for p in out.rglob("part-*")).split()) == ['"after"', '"between"']


async def test_a_job_that_cannot_reach_its_broker_says_so():
    """One line: what, where, and what to look at."""
    port = unused_port()
    topology = Topology("nowhere")
    connection = kafka.Connection(f"127.0.0.1:{port}", connect_timeout="200ms")
    topology.source("t", kafka.source(connection, "t", format=formats.json())).sink("out", memory.sink())
    with pytest.raises(JobError, match=rf"Kafka at 127.0.0.1:{port} cannot be reached within 200ms: "):
        async with start(topology, RunConfig()) as job:
            await job.wait()


# ------------------------------------------------------------------ three brokers


async def test_reading_follows_a_leader_that_moves():
    """One of three brokers dies: its partitions are led by others, and the reader finds them."""
    with LocalKafka(brokers=3) as cluster:
        topic = make_topic(cluster.servers, "moving", partitions=3, replicas=3)
        for partition in range(3):
            produce(cluster.servers, topic, [f"{partition} before"], partition, acks="all")
        async with reading(kafka.source(cluster.servers, topic, format=formats.json(str))) as it:
            await it.count(3)
            admin = AdminClient({"bootstrap.servers": cluster.servers})
            described = admin.describe_topics(TopicCollection([topic]))[topic].result(DEADLINE_S)
            await in_thread(cluster.kill, described.partitions[0].leader.id)
            for partition in range(3):
                await in_thread(produce, cluster.servers, topic, [f"{partition} after"], partition)
            await it.count(6)
            assert it.values == {f"{topic}-{p}": [f"{p} before", f"{p} after"] for p in range(3)}


async def test_reading_goes_on_when_the_network_comes_back():
    """Nothing answers for a while, then all that was sent does; later connections are reset."""
    async with StallingProxy() as proxy:
        with ThreadPoolExecutor(1) as executor:
            cluster = LocalKafka(advertised={0: proxy.address})
            proxy.target = cluster.address(0)
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(executor, cluster.__enter__)
            try:
                topic = await in_thread(make_topic, cluster.internal_servers, "cut")
                await in_thread(produce, cluster.internal_servers, topic, ["before"])
                async with reading(kafka.source(cluster.servers, topic, format=formats.json(str))) as it:
                    await it.count(1)
                    proxy.stall()
                    await in_thread(produce, cluster.internal_servers, topic, ["while stalled"])
                    assert await it.once() == 0
                    proxy.resume()
                    await it.count(2)
                    proxy.cut()
                    await in_thread(produce, cluster.internal_servers, topic, ["while cut"])
                    assert await it.once() == 0
                    proxy.resume()
                    await it.count(3)
                    assert it.all_values == ["before", "while stalled", "while cut"]
            finally:
                await loop.run_in_executor(executor, cluster.close)


# -------------------------------------------------------------------- credentials


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalKafka]:
    """A broker that knows two users and lets one do everything."""
    users = {"admin": "open sesame", "guest": "guest"}
    with LocalKafka(protocol="SASL_PLAINTEXT", users=users, super_users=["admin"]) as cluster:
        make_topic(cluster.servers, "secret", **ADMIN)
        produce(cluster.servers, "secret", ["x"], **ADMIN)
        yield cluster


ADMIN = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "admin",
    "sasl.password": "open sesame",
}


@pytest.fixture
def words(monkeypatch):
    monkeypatch.setenv("RIGHT", "open sesame")
    monkeypatch.setenv("GUEST", "guest")
    monkeypatch.setenv("WRONG", "guessed")


def unsecured_token() -> str:
    """What only a test's broker takes."""
    now_s = int(time.time())
    parts = [{"alg": "none"}, {"sub": "admin", "iat": now_s, "exp": now_s + 3600}]
    return "".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") + "." for part in parts)


@pytest.mark.parametrize(
    "sasl",
    [
        kafka.Plain("admin", "env:RIGHT"),
        kafka.Scram("admin", "env:RIGHT"),
        kafka.Scram("admin", "env:RIGHT", "SCRAM-SHA-256"),
        kafka.OAuthBearer(unsecured_token),
    ],
    ids=lambda sasl: sasl.mechanism,
)
async def test_every_mechanism_reads(guarded, words, sasl):
    """With the right credentials."""
    connection = kafka.Connection(guarded.servers, sasl=sasl)
    source = kafka.source(connection, "secret", format=formats.json(str), stop_at_end=True)
    assert await read_all(source) == {"secret-0": ["x"]}


@pytest.mark.parametrize(
    "sasl", [kafka.Plain("admin", "env:WRONG"), kafka.Scram("admin", "env:WRONG")], ids=lambda sasl: sasl.mechanism
)
async def test_wrong_credentials_are_told_at_once_and_not_repeated(guarded, words, sasl):
    """Without waiting, for waiting cannot help; neither the right nor the wrong password is shown."""
    connection = kafka.Connection(guarded.servers, sasl=sasl, connect_timeout="1h")
    with pytest.raises(SourceError, match="refuses the credentials") as failed:
        await kafka.source(connection, "secret", format=formats.json()).discover(LiveSourceContext(), frozenset())
    assert failed.value.retriable is False
    assert "guessed" not in str(failed.value)
    assert "open sesame" not in str(failed.value)


async def test_a_token_that_cannot_be_had_is_told(guarded):
    """After `connect_timeout`: whoever gives tokens may be away for a while."""

    async def broken() -> str:
        raise OSError("the identity provider is away")

    connection = kafka.Connection(guarded.servers, sasl=kafka.OAuthBearer(broken), connect_timeout="200ms")
    with pytest.raises(SourceError, match="there is no token: OSError: the identity provider is away"):
        await kafka.source(connection, "secret", format=formats.json()).discover(LiveSourceContext(), frozenset())


async def test_a_topic_that_is_denied_is_named_with_the_right_that_is_missing(guarded, words):
    """When it cannot be seen, and when it can be seen and not read."""
    connection = kafka.Connection(guarded.servers, sasl=kafka.Plain("guest", "env:GUEST"))
    source = kafka.source(connection, "secret", format=formats.json())
    denied = "topic 'secret' is denied: allow Read and Describe on it to this user"
    with pytest.raises(SourceError, match=denied):
        await source.discover(LiveSourceContext(), frozenset())
    acl = AclBinding(
        ResourceType.TOPIC,
        "secret",
        ResourcePatternType.LITERAL,
        "User:guest",
        "*",
        AclOperation.DESCRIBE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient({"bootstrap.servers": guarded.servers, **ADMIN})
    [made] = admin.create_acls([acl]).values()
    made.result(DEADLINE_S)
    async with reading(source) as it:
        with pytest.raises(SourceError, match=denied) as failed:
            await it.count(1)
        assert failed.value.retriable is False


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_tls_reads_and_an_unknown_authority_is_told_at_once(tmp_path: Path):
    """The certificate must be trusted and name the host."""
    pem = certificate(tmp_path)
    keystore = "listener.name.client.ssl.keystore"
    settings = {f"{keystore}.type": "PEM", f"{keystore}.location": str(pem)}
    with LocalKafka(protocol="SSL", settings=settings) as cluster:
        topic = make_topic(cluster.internal_servers, "encrypted")
        produce(cluster.internal_servers, topic, ["x"])
        connection = kafka.Connection(cluster.servers, tls=kafka.Tls(ca=str(pem)))
        assert await read_all(kafka.source(connection, topic, format=formats.json(str), stop_at_end=True)) == {
            f"{topic}-0": ["x"]
        }
        stranger = kafka.Connection(cluster.servers, tls=kafka.Tls(), connect_timeout="1h")
        with pytest.raises(SourceError, match=r"TLS fails: .*; check the tls setting") as failed:
            await kafka.source(stranger, topic, format=formats.json()).discover(LiveSourceContext(), frozenset())
        assert (failed.value.retriable, type(failed.value.__cause__)) == (False, ssl.SSLCertVerificationError)


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1, in one file."""
    key, public, pem = folder / "key", folder / "certificate", folder / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(public)),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(key.read_text() + public.read_text())
    return pem
