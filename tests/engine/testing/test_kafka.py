"""Brokers of the testing kit: real Kafka that starts, dies and comes back as a test wants it."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from tidegate.engine.testing.kafka import LocalKafka
from tidegate.engine.testing.kafka_jars import class_archive, java_command, kafka_jars
from tidegate.engine.testing.servers import ServerUnavailableError

needs_kafka = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("java", "mvn")), reason="a local broker needs Java and Maven"
)


@pytest.fixture(scope="module")
def kafka() -> Iterator[LocalKafka]:
    """One broker for the tests that leave it as they found it."""
    with LocalKafka() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalKafka]:
    """A broker that knows two users and lets one do everything."""
    users = {"admin": "open sesame", "guest": "guest"}
    with LocalKafka(protocol="SASL_PLAINTEXT", users=users, super_users=["admin"]) as cluster:
        yield cluster


async def produce(servers: str, topic: str, *values: bytes, **settings: object) -> None:
    """Write records and wait until the brokers have all of them."""
    async with AIOKafkaProducer(bootstrap_servers=servers, **settings) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def consume(servers: str, topic: str, count: int, **settings: object) -> list[bytes]:
    """The first records of partition 0."""
    async with AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", **settings) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        return [(await consumer.getone()).value for _ in range(count)]


async def create(servers: str, topic: str, replicas: int = 1, **settings: object) -> str:
    """Make a topic of one partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers, **settings)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, replicas)])
    finally:
        await admin.close()
    return topic


@needs_kafka
@pytest.mark.slow
class TestABroker:
    """What one broker does."""

    async def test_it_keeps_what_is_written(self, kafka):
        """A real client writes and reads."""
        topic = await create(kafka.servers, "kept")
        await produce(kafka.servers, topic, b"a", b"b")
        assert await consume(kafka.servers, topic, 2) == [b"a", b"b"]

    async def test_transactions_work_with_one_broker(self, kafka):
        """The internal topics ask for no more replicas than there are brokers."""
        topic = await create(kafka.servers, "transactions")
        async with AIOKafkaProducer(bootstrap_servers=kafka.servers, transactional_id="t") as producer:
            async with producer.transaction():
                await producer.send(topic, b"in")
        assert await consume(kafka.servers, topic, 1, isolation_level="read_committed") == [b"in"]

    async def test_data_and_port_survive_a_kill_and_a_stop(self):
        """A broker that is started again is the same broker."""
        with LocalKafka() as kafka:
            servers = kafka.servers
            topic = await create(servers, "survives")
            await produce(servers, topic, b"before")
            kafka.kill(0)
            assert kafka.pid(0) is None
            kafka.start(0)
            await produce(servers, topic, b"between")
            kafka.stop(0)
            kafka.start(0)
            assert (kafka.servers, await consume(servers, topic, 2)) == (servers, [b"before", b"between"])

    def test_a_running_broker_cannot_be_started(self, kafka):
        """A mistake of the test is said, not passed over."""
        with pytest.raises(ValueError, match="broker 0 runs already"):
            kafka.start(0)

    def test_nothing_is_left_of_it(self):
        """Neither process nor data."""
        with LocalKafka() as kafka:
            pid, folder = kafka.pid(0), kafka.log_path(0).parent
            assert folder.is_dir()
        assert (_is_alive(pid), folder.exists()) == (False, False)

    async def test_it_dies_with_the_process_that_started_it(self):
        """Also when that is killed and can do nothing about it."""
        code = (
            "import sys; from tidegate.engine.testing.kafka import LocalKafka\n"
            "with LocalKafka() as kafka: print(kafka.pid(0), kafka.log_path(0).parent, flush=True); sys.stdin.read()"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        pid, folder = (await process.stdout.readline()).decode().split()
        assert _is_alive(int(pid))
        process.kill()
        await process.wait()
        async with asyncio.timeout(30):
            while not _is_gone(int(pid), folder):  # noqa: ASYNC110  # nobody's child, so there is nothing to await
                await asyncio.sleep(0.01)

    def test_it_runs_from_a_shell_until_it_is_interrupted(self):
        """The module is a command that prints the servers first."""
        with subprocess.Popen(
            [sys.executable, "-m", "tidegate.engine.testing.kafka"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("127.0.0.1:")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0

    async def test_it_ends_with_the_last_lock(self, tmp_path):
        """Which is how several test processes share one broker."""
        lock = tmp_path / "lock"
        with lock.open("w") as first, lock.open("r") as second:
            fcntl.flock(first, fcntl.LOCK_SH)
            fcntl.flock(second, fcntl.LOCK_SH)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tidegate.engine.testing.kafka", "--while-locked", str(lock)),
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            servers = (await process.stdout.readline()).decode().strip()
            first.close()
            assert await create(servers, "still-there") == "still-there"
            assert process.returncode is None
        async with asyncio.timeout(30):
            assert (await process.wait(), lock.exists()) == (0, False)

    def test_classes_are_kept_for_the_next_start(self, kafka):
        """The first broker of a version writes them down when it ends."""
        del kafka  # one broker has started; unless it was the very first, the archive is there
        with LocalKafka():
            pass
        assert class_archive(LocalKafka().version, java_command()).is_file()


@needs_kafka
@pytest.mark.slow
class TestAccess:
    """Who may do what."""

    @pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
    async def test_users_authenticate(self, guarded, mechanism):
        """With each mechanism, by the same name and password."""
        login = _login(mechanism)
        topic = await create(guarded.servers, f"users-{mechanism}", **login)
        await produce(guarded.servers, topic, b"x", **login)
        assert await consume(guarded.servers, topic, 1, **login) == [b"x"]

    async def test_an_unsecured_token_authenticates(self, guarded):
        """OAUTHBEARER, with a token that the test makes itself."""

        class Admin(AbstractTokenProvider):
            async def token(self) -> str:
                return _unsecured_token("admin")

        login = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauth_token_provider": Admin(),
        }
        topic = await create(guarded.servers, "tokens", **login)
        await produce(guarded.servers, topic, b"x", **login)
        assert await consume(guarded.servers, topic, 1, **login) == [b"x"]

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
    async def test_clients_can_be_encrypted(self, tmp_path):
        """With a key and a certificate in one PEM file, named by Kafka's own settings."""
        pem = _certificate(tmp_path)
        keystore = "listener.name.client.ssl.keystore"
        settings = {f"{keystore}.type": "PEM", f"{keystore}.location": str(pem)}
        with LocalKafka(protocol="SSL", settings=settings) as kafka:
            tls = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context(cafile=str(pem))}
            topic = await create(kafka.servers, "encrypted", **tls)
            await produce(kafka.servers, topic, b"x", **tls)
            assert await consume(kafka.servers, topic, 1, **tls) == [b"x"]

    async def test_a_wrong_password_is_refused(self, guarded, caplog):
        """It is a real check, which the client tells apart in its log only."""
        with pytest.raises(KafkaConnectionError):
            await create(guarded.servers, "wrong", **{**_login("PLAIN"), "sasl_plain_password": "guessed"})
        assert "Invalid username or password" in caplog.text

    async def test_others_may_do_what_is_allowed_to_them(self, guarded):
        """Without an ACL that is nothing."""
        login = {**_login("PLAIN"), "sasl_plain_username": "guest", "sasl_plain_password": "guest"}
        topic = await create(guarded.servers, "secret", **_login("PLAIN"))
        with pytest.raises(TopicAuthorizationFailedError):
            await produce(guarded.servers, topic, b"x", **login)


@needs_kafka
@pytest.mark.slow
class TestThreeBrokers:
    """What fails over."""

    async def test_two_go_on_when_one_is_killed(self):
        """Topics and transactions stay available, and the third comes back."""
        with LocalKafka(brokers=3) as kafka:
            topic = await create(kafka.servers, "replicated", replicas=3)
            await produce(kafka.servers, topic, b"three", acks="all")
            kafka.kill(0)
            async with AIOKafkaProducer(bootstrap_servers=kafka.servers, transactional_id="t") as producer:
                async with producer.transaction():
                    await producer.send_and_wait(topic, b"two")
            kafka.start(0)
            await produce(kafka.servers, topic, b"three again", acks="all")
            found = await consume(kafka.servers, topic, 3, isolation_level="read_committed")
            assert found == [b"three", b"two", b"three again"]


class TestErrors:
    """What a machine lacks is said in one line with the remedy."""

    def test_no_java(self, monkeypatch, tmp_path):
        """What to install."""
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ServerUnavailableError, match="install a JRE of version 17 or newer"):
            java_command()

    def test_an_old_java(self, monkeypatch, tmp_path):
        """Which one, and how to choose another."""
        java = tmp_path / "java"
        java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
        java.chmod(0o755)
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
        with pytest.raises(ServerUnavailableError, match=f"{java} is 11: set JAVA_HOME"):
            java_command()

    def test_no_maven(self, monkeypatch, tmp_path):
        """Where the jars were looked for."""
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        with pytest.raises(ServerUnavailableError, match=f"is not in {tmp_path}/tidegate/kafka .* install Maven"):
            kafka_jars()

    @needs_kafka
    @pytest.mark.slow
    def test_a_port_that_is_taken(self, kafka):
        """Which one."""
        _, port = kafka.address(0)
        with pytest.raises(ServerUnavailableError, match=f"port {port} on 127.0.0.1 is taken"), LocalKafka(port=port):
            pass

    @needs_kafka
    @pytest.mark.slow
    def test_a_setting_that_kafka_refuses(self):
        """Kafka's own words are in the error."""
        with pytest.raises(ServerUnavailableError, match=r"(?s)look at the settings.*log.retention.bytes"):
            with LocalKafka(settings={"log.retention.bytes": "much"}):
                pass

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"brokers": 0}, "there must be one at least"),
            ({"users": {"a": "b"}}, 'say protocol="SASL_PLAINTEXT"'),
            ({"advertised": {1: ("proxy", 1)}}, r"advertised names brokers \[1\], there are 0 to 0"),
        ],
    )
    def test_arguments_that_do_not_go_together(self, arguments, message):
        """They are refused before anything starts."""
        with pytest.raises(ValueError, match=message):
            LocalKafka(**arguments)


def _login(mechanism: str) -> dict[str, str]:
    return {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "admin",
        "sasl_plain_password": "open sesame",
    }


def _certificate(folder: Path) -> Path:
    """A PEM file with a key and a certificate for the loopback address that vouches for itself."""
    key, certificate, pem = folder / "key", folder / "certificate", folder / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_text(key.read_text() + certificate.read_text())
    return pem


def _unsecured_token(user: str) -> str:
    now_s = int(time.time())
    parts = [{"alg": "none"}, {"sub": user, "iat": now_s, "exp": now_s + 3600}]
    return "".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") + "." for part in parts)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def _is_gone(pid: int, folder: str) -> bool:
    return not _is_alive(pid) and not Path(folder).exists()
