"""How a cluster is reached: what each client library is told, and what is never printed."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError
from tidegate.connectors import ConnectorError, kafka


def test_servers_are_text_or_a_list():
    """Blanks do not count; what a connection is, it stays."""
    assert kafka.Connection("a:1, b:2").servers == kafka.Connection(["a:1", "b:2"]).servers == "a:1,b:2"
    connection = kafka.Connection("a:1")
    assert (kafka.Connection.of(connection), kafka.Connection.of("a:1")) == (connection, connection)


@pytest.mark.parametrize("servers", ["", "a:1,,b:2", [], "kafka://a:1", "me:secret@a:1"])
def test_wrong_servers_are_refused(servers):
    """Before anything runs, without repeating a password that stands in them."""
    with pytest.raises(ValueError, match="host:port") as refused:
        kafka.Connection(servers)
    assert "secret" not in str(refused.value)


def test_a_wrong_duration_is_refused():
    """As everywhere."""
    with pytest.raises(ValueError, match="is not a duration"):
        kafka.Connection("a:1", connect_timeout="soon")


def test_a_plain_connection_says_nothing_of_tls_and_credentials():
    """What the libraries need and no more."""
    connection = kafka.Connection("a:1,b:2")
    assert connection.aiokafka_settings() == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "tidegate",
        "security_protocol": "PLAINTEXT",
    }
    assert connection.confluent_settings() == {
        "bootstrap.servers": "a:1,b:2",
        "client.id": "tidegate",
        "security.protocol": "plaintext",
    }


@pytest.mark.parametrize(
    ("sasl", "mechanism"),
    [
        (kafka.Plain("me", "env:WORD"), "PLAIN"),
        (kafka.Scram("me", "env:WORD"), "SCRAM-SHA-512"),
        (kafka.Scram("env:NAME", "env:WORD", "SCRAM-SHA-256"), "SCRAM-SHA-256"),
    ],
)
def test_passwords_are_read_when_they_are_needed(sasl, mechanism, monkeypatch):
    """Each time anew, so that a rotated one is seen."""
    connection = kafka.Connection("a:1", sasl=sasl)
    with pytest.raises(ConnectorError, match="is not set"):
        connection.aiokafka_settings()
    monkeypatch.setenv("NAME", "me")
    for word in ("one", "two"):
        monkeypatch.setenv("WORD", word)
        found = connection.aiokafka_settings()
        names = ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
        assert [found[name] for name in names] == ["SASL_PLAINTEXT", mechanism, "me", word]
        found = connection.confluent_settings()
        names = ("security.protocol", "sasl.mechanism", "sasl.username", "sasl.password")
        assert [found[name] for name in names] == ["sasl_plaintext", mechanism, "me", word]


def test_a_password_in_the_clear_is_refused_and_not_repeated():
    """Credentials are references."""
    for make in (
        lambda: kafka.Plain("me", "s3cret"),
        lambda: kafka.Scram("me", "s3cret"),
        lambda: kafka.OAuthBearer("s3cret"),
        lambda: kafka.Tls(certificate="c.pem", key="k.pem", key_password="s3cret"),
    ):
        with pytest.raises(ValueError, match="by reference") as refused:
            make()
        assert "s3cret" not in str(refused.value)


def test_a_connection_may_be_printed(monkeypatch):
    """It shows references, never what they refer to."""
    monkeypatch.setenv("WORD", "s3cret")
    connection = kafka.Connection("a:1", sasl=kafka.Scram("me", "env:WORD"))
    connection.aiokafka_settings()
    assert "env:WORD" in repr(connection)
    assert "s3cret" not in repr(connection)


def test_an_unknown_mechanism_is_refused():
    """With those that there are."""
    with pytest.raises(ValueError, match='"SCRAM-SHA-512" or "SCRAM-SHA-256"'):
        kafka.Scram("me", "env:WORD", "SCRAM-SHA-1")  # type: ignore[arg-type]


async def test_a_token_comes_from_a_file_or_a_function(tmp_path: Path):
    """A function may be async; a file is read anew for each connection."""
    (tmp_path / "token").write_text("of a file\n")

    async def later() -> str:
        await asyncio.sleep(0)
        return "of an async function"

    for token, expected in [
        (f"file:{tmp_path}/token", "of a file"),
        (lambda: "of a function", "of a function"),
        (later, "of an async function"),
    ]:
        settings = kafka.Connection("a:1", sasl=kafka.OAuthBearer(token)).aiokafka_settings()
        assert settings["sasl_mechanism"] == "OAUTHBEARER"
        assert await settings["sasl_oauth_token_provider"].token() == expected


async def test_a_token_that_cannot_be_had_is_a_connection_that_failed(tmp_path: Path):
    """It is tried again, with the reason."""

    def broken() -> str:
        raise OSError("the identity provider is away")

    for token, reason in [
        (broken, "there is no token: OSError: the identity provider is away"),
        (f"file:{tmp_path}/missing", "missing: cannot be read: No such file"),
    ]:
        provider = kafka.OAuthBearer(token).aiokafka_settings()["sasl_oauth_token_provider"]
        with pytest.raises(KafkaConnectionError, match=reason):
            await provider.token()


def test_librdkafka_is_told_when_a_token_expires():
    """Which the token itself must say."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_800_000_000}).encode()).decode().rstrip("=")
    settings = kafka.Connection("a:1", sasl=kafka.OAuthBearer(lambda: f"h.{claims}.s")).confluent_settings()
    assert settings["oauth_cb"]("") == (f"h.{claims}.s", 1_800_000_000.0)
    opaque = kafka.Connection("a:1", sasl=kafka.OAuthBearer(lambda: "opaque")).confluent_settings()
    with pytest.raises(ConnectorError, match="when it expires"):
        opaque["oauth_cb"]("")


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path):
    """Before a connection is tried."""
    (tmp_path / "broken.pem").write_text("no certificate")
    for ca, reason in [(f"{tmp_path}/missing.pem", "No such file"), (f"{tmp_path}/broken.pem", "cannot be used")]:
        with pytest.raises(ConnectorError, match=reason) as failed:
            kafka.Connection("a:1", tls=kafka.Tls(ca)).aiokafka_settings()
        assert ca in str(failed.value)
    with pytest.raises(ValueError, match="a key belongs to a certificate"):
        kafka.Tls(key="k.pem")


def test_tls_is_told_to_librdkafka_as_paths(monkeypatch):
    """It reads them itself."""
    monkeypatch.setenv("WORD", "open")
    tls = kafka.Tls("ca.pem", "c.pem", "k.pem", "env:WORD", check_hostname=False)
    found = kafka.Connection("a:1", tls=tls, sasl=kafka.Plain("me", "env:WORD")).confluent_settings()
    assert {name: value for name, value in found.items() if name.startswith(("ssl", "security"))} == {
        "security.protocol": "sasl_ssl",
        "ssl.ca.location": "ca.pem",
        "ssl.certificate.location": "c.pem",
        "ssl.key.location": "k.pem",
        "ssl.key.password": "open",
        "ssl.endpoint.identification.algorithm": "none",
    }


@pytest.mark.slow
def test_no_kafka_library_is_loaded_before_it_is_needed():
    """Naming a topic loads none either."""
    code = (
        "import sys; from tidegate.connectors import kafka, formats; "
        "kafka.source('a:1', 't', format=formats.json()); "
        "print([name for name in ('aiokafka', 'confluent_kafka', 'cramjam') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert out.stdout.strip() == "[]"
