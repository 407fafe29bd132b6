"""How to reach a Kafka cluster: servers, TLS, credentials."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from ...operators.time import Duration, duration_ms
from ..secret import Secret
from ..source import ConnectorError

TokenProvider = Callable[[], str | Awaitable[str]]
"""Gives a token whenever a connection needs one. A plain function must not wait; one that must is `async`."""

ScramMechanism = Literal["SCRAM-SHA-256", "SCRAM-SHA-512"]

_SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class Tls:
    """Encryption, and a client certificate where the brokers ask for one. All are paths of PEM files.

    Attributes:
        ca: the authorities that are trusted; those of the system when None.
        certificate: the client's own certificate, with its chain.
        key: the private key of `certificate`.
        key_password: a reference (`env:NAME`, `file:PATH`) to the password of `key`.
        check_hostname: whether the broker's certificate must name the host.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = None
    check_hostname: bool = True

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise ValueError("tls: a key belongs to a certificate: give both")
        _check(self.key_password)

    def aiokafka_settings(self) -> dict[str, Any]:
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.check_hostname = self.check_hostname
            if self.certificate is not None:
                password = Secret(self.key_password).reveal() if self.key_password else None
                context.load_cert_chain(self.certificate, self.key, password)
        except OSError as error:
            files = ", ".join(path for path in (self.ca, self.certificate, self.key) if path)
            raise ConnectorError(
                f"tls: {files}: cannot be used: {error.strerror or error}; they must be readable PEM files",
                retriable=False,
            ) from error
        return {"ssl_context": context}

    def confluent_settings(self) -> dict[str, Any]:
        settings = {
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.certificate,
            "ssl.key.location": self.key or self.certificate,
            "ssl.key.password": Secret(self.key_password).reveal() if self.key_password else None,
            "ssl.endpoint.identification.algorithm": "https" if self.check_hostname else "none",
        }
        return {name: value for name, value in settings.items() if value is not None}


class Sasl(Protocol):
    """A way to say who one is: `Plain`, `Scram` or `OAuthBearer`."""

    @property
    def mechanism(self) -> str: ...
    def aiokafka_settings(self) -> dict[str, Any]: ...
    def confluent_settings(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Plain:
    """User name and password, sent as they are: use it over TLS.

    Attributes:
        username: the name itself, or a reference to it.
        password: a reference: `env:NAME` or `file:PATH`.
    """

    username: str
    password: str

    mechanism = "PLAIN"

    def __post_init__(self) -> None:
        _check(self.password)

    def aiokafka_settings(self) -> dict[str, Any]:
        return _password_settings("sasl_plain_username", "sasl_plain_password", self.username, self.password)

    def confluent_settings(self) -> dict[str, Any]:
        return _password_settings("sasl.username", "sasl.password", self.username, self.password)


@dataclass(frozen=True)
class Scram:
    """User name and password, of which the password never crosses the network.

    Attributes:
        username: the name itself, or a reference to it.
        password: a reference: `env:NAME` or `file:PATH`.
        mechanism: `"SCRAM-SHA-512"` (usual) or `"SCRAM-SHA-256"`.
    """

    username: str
    password: str
    mechanism: ScramMechanism = "SCRAM-SHA-512"

    def __post_init__(self) -> None:
        _check(self.password)
        if self.mechanism not in _SCRAM:
            raise ValueError(f'mechanism={self.mechanism!r}: "SCRAM-SHA-512" or "SCRAM-SHA-256"')

    def aiokafka_settings(self) -> dict[str, Any]:
        return _password_settings("sasl_plain_username", "sasl_plain_password", self.username, self.password)

    def confluent_settings(self) -> dict[str, Any]:
        return _password_settings("sasl.username", "sasl.password", self.username, self.password)


@dataclass(frozen=True)
class OAuthBearer:
    """A bearer token.

    Attributes:
        token: a callable that gives a token that is valid now, or a reference (`file:PATH` is read anew for each
            connection, so a token that something else renews is seen).
    """

    token: str | TokenProvider

    mechanism = "OAUTHBEARER"

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            _check(self.token)

    async def _token(self) -> str:
        if isinstance(self.token, str):
            return Secret(self.token).reveal()
        given = self.token()
        return await given if inspect.isawaitable(given) else given

    def aiokafka_settings(self) -> dict[str, Any]:
        from aiokafka.abc import AbstractTokenProvider
        from aiokafka.errors import KafkaConnectionError

        ask = self._token

        class Provider(AbstractTokenProvider):  # type: ignore[misc]  # the library has no types
            async def token(self) -> str:
                try:
                    return await ask()
                except Exception as error:
                    # The library takes its own errors only for a connection that failed and may be tried again.
                    reason = str(error) if isinstance(error, ConnectorError) else f"{type(error).__name__}: {error}"
                    raise KafkaConnectionError(f"there is no token: {reason}") from error

        return {"sasl_oauth_token_provider": Provider()}

    def confluent_settings(self) -> dict[str, Any]:
        def give(_: str) -> tuple[str, float]:
            given = Secret(self.token).reveal() if isinstance(self.token, str) else self.token()
            if not isinstance(given, str):
                raise TypeError("OAuthBearer: this client needs a token function that is not async")
            return given, _expires_s(given)

        return {"oauth_cb": give}


@dataclass(frozen=True)
class Connection:
    """How to reach a Kafka cluster. Holds references to credentials, never credentials: it may be printed.

        Connection("broker-1:9093,broker-2:9093", tls=Tls(ca="ca.pem"), sasl=Scram("tidegate", "env:KAFKA_PASSWORD"))

    Attributes:
        servers: `host:port`, several with commas between or as a list; enough to find the others.
        tls: encryption; None speaks in the clear.
        sasl: who we are; None says nothing.
        connect_timeout: how long an unreachable cluster is tried again before the job is told.
        client_id: the name that the brokers log.
    """

    servers: str | Sequence[str]
    tls: Tls | None = None
    sasl: Sasl | None = None
    connect_timeout: Duration = "30s"
    client_id: str = "tidegate"

    def __post_init__(self) -> None:
        listed = self.servers.split(",") if isinstance(self.servers, str) else self.servers
        servers = [server.strip() for server in listed]
        if not servers or not all(servers):
            raise ValueError(f'servers={self.servers!r}: write "host:port", several with commas between')
        for server in servers:
            if "://" in server or "@" in server:
                raise ValueError('servers: write "host:port" alone; TLS and credentials have settings of their own')
        object.__setattr__(self, "servers", ",".join(servers))
        duration_ms(self.connect_timeout)

    @property
    def connect_timeout_ms(self) -> int:
        return duration_ms(self.connect_timeout)

    @property
    def _protocol(self) -> str:
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    def aiokafka_settings(self) -> dict[str, Any]:
        """Keyword arguments for any client of aiokafka. Holds credentials: pass it on, do not keep it.

        Raises:
            ConnectorError: a credential or a certificate cannot be read; names it.
        """
        settings = {
            "bootstrap_servers": str(self.servers).split(","),
            "client_id": self.client_id,
            "security_protocol": self._protocol,
        }
        if self.tls is not None:
            settings |= self.tls.aiokafka_settings()
        if self.sasl is not None:
            settings |= {"sasl_mechanism": self.sasl.mechanism} | self.sasl.aiokafka_settings()
        return settings

    def confluent_settings(self) -> dict[str, Any]:
        """Settings for any client of confluent-kafka. Holds credentials: pass it on, do not keep it.

        Raises:
            ConnectorError: a credential cannot be read; names it.
        """
        settings: dict[str, Any] = {
            "bootstrap.servers": self.servers,
            "client.id": self.client_id,
            "security.protocol": self._protocol.lower(),
        }
        if self.tls is not None:
            settings |= self.tls.confluent_settings()
        if self.sasl is not None:
            settings |= {"sasl.mechanism": self.sasl.mechanism} | self.sasl.confluent_settings()
        return settings

    @staticmethod
    def of(servers: str | Sequence[str] | Connection) -> Connection:
        """What a user wrote, servers or a whole connection, as a connection."""
        return servers if isinstance(servers, Connection) else Connection(servers)


def _check(reference: str | None) -> None:
    if reference is not None:
        Secret(reference)


def _password_settings(name: str, word: str, username: str, password: str) -> dict[str, Any]:
    if username.startswith(("env:", "file:")):
        username = Secret(username).reveal()
    return {name: username, word: Secret(password).reveal()}


def _expires_s(token: str) -> float:
    """When a JWT expires, which librdkafka asks for."""
    try:
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise ConnectorError("OAuthBearer: the token is no JWT that says when it expires", retriable=False) from error
