"""A real Apache Kafka on this machine, for tests: started from its published jars, killed and restarted at will.

    with LocalKafka() as kafka:
        ...  # clients connect to kafka.servers

    with LocalKafka(brokers=3) as kafka:
        kafka.kill(0)
        ...  # the other two go on
        kafka.start(0)

It needs `java` 17 or newer, and once `mvn`, which fetches the jars into a cache. Run as a module it is a broker to work
with: `python -m tidegate.engine.testing.kafka --port 9092`.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import secrets
import signal
import socket
import struct
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from ...operators.time import Duration
from .kafka_jars import KAFKA_VERSION, class_archive, java_command, kafka_jars
from .kafka_properties import (
    BrokerAddresses,
    authentication_properties,
    authorization_properties,
    broker_properties,
)
from .ports import HOST, ensure_free, free_ports
from .servers import LocalServer, ServerProcess, ServerUnavailableError, log_tail

_JAVA_OPTIONS = (
    "-Xms64m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # brokers of tests live for seconds: what the second compiler makes comes too late
    "-Xshare:auto",
    "-XX:-UsePerfData",
    "-Xlog:cds=off",
    "-Xlog:cds+dynamic=off",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)


class _Broker:
    """One broker: where it listens, its files, and its process while it runs."""

    def __init__(self, addresses: BrokerAddresses, folder: Path) -> None:
        self.number = addresses.number
        self.addresses = addresses
        self.settings = folder / f"broker-{self.number}.properties"
        self.data = folder / f"data-{self.number}"
        self.log = folder / f"broker-{self.number}.log"
        self.process: ServerProcess | None = None


class LocalKafka(LocalServer):
    """A cluster of brokers, each also a controller. A context manager: see `LocalServer`; their data goes with them.

    Brokers listen on the loopback interface. Topics have
    to be created. Where there are three brokers and more, the internal topics have three replicas, two of which must be in
    sync. `start`, `stop` and `kill` block: call them in a thread where an event loop has to go on.

    Args:
        brokers: how many.
        version: of Kafka, 3.0 or newer. (2.8 starts too, and knows no transactions without ZooKeeper.)
        settings: broker properties, in addition to ours and before them.
        protocol: of the listener for clients. Brokers among themselves use plain text.
        users: names and passwords; with them clients authenticate with PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 (from Kafka 3.5
            on) or an unsecured OAUTHBEARER token. They want a SASL protocol.
        super_users: those of the users who may do everything. With it, also when empty, others may do what ACLs allow.
        advertised: the address that clients are told, for each broker behind a proxy.
        port: of broker 0 for clients, the next ones for the others; None for any free ones.
        heap_mb: of each broker.
        start_timeout: how long brokers may take until they serve.

    Raises:
        ValueError: arguments that do not go together.
    """

    def __init__(
        self,
        brokers: int = 1,
        *,
        version: str = KAFKA_VERSION,
        settings: Mapping[str, str] | None = None,
        protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT",
        users: Mapping[str, str] | None = None,
        super_users: Collection[str] | None = None,
        advertised: Mapping[int, tuple[str, int]] | None = None,
        port: int | None = None,
        heap_mb: int = 256,
        start_timeout: Duration = "60s",
    ) -> None:
        if brokers < 1:
            raise ValueError(f"brokers={brokers}: there must be one at least")
        if users and not protocol.startswith("SASL"):
            raise ValueError(f'users authenticate with SASL: say protocol="SASL_PLAINTEXT" instead of "{protocol}"')
        if unknown := [number for number in advertised or {} if number not in range(brokers)]:
            raise ValueError(f"advertised names brokers {unknown}, there are 0 to {brokers - 1}")
        super().__init__("kafka", start_timeout)
        self.version = version
        self._settings = dict(settings or {})
        self._protocol = protocol
        self._users = dict(users or {})
        self._super_users = super_users
        self._heap_mb = heap_mb
        self._cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=").replace("-", "_")
        self._java: list[str] = []
        self._classes = self._learned = self._folder / "classes"
        self._learner: ServerProcess | None = None
        ports = free_ports(3 * brokers)
        self._brokers = []
        for number in range(brokers):
            client, internal, controller = ports[3 * number : 3 * number + 3]
            client = client if port is None else port + number
            told = (advertised or {}).get(number, (HOST, client))
            self._brokers.append(_Broker(BrokerAddresses(number, client, internal, controller, told), self._folder))

    @property
    def servers(self) -> str:
        """What clients connect to: the address of each broker, as they are told it."""
        return ",".join("{}:{}".format(*broker.addresses.advertised) for broker in self._brokers)

    @property
    def internal_servers(self) -> str:
        """The addresses that the brokers use among themselves: no proxy, no authentication, everything is allowed."""
        return ",".join(f"{HOST}:{broker.addresses.internal_port}" for broker in self._brokers)

    def address(self, broker: int) -> tuple[str, int]:
        """Where a broker really listens for clients: what a proxy in front of it forwards to."""
        return HOST, self._brokers[broker].addresses.client_port

    def log_path(self, broker: int) -> Path:
        """The file with all that a broker wrote; it goes with the cluster."""
        return self._brokers[broker].log

    def pid(self, broker: int) -> int | None:
        """The process id of a broker; None while it does not run."""
        process = self._brokers[broker].process
        return process.pid if process else None

    def _open(self) -> None:
        java, jars = java_command(), kafka_jars(self.version)
        self._classes = class_archive(self.version, java)
        self._java = [java, f"-Xmx{self._heap_mb}m", *_JAVA_OPTIONS, "-cp", f"{jars}/*"]
        if self._classes.exists():
            self._java.append(f"-XX:SharedArchiveFile={self._classes}")
        self._learned = self._classes.with_suffix(f".{secrets.token_hex(4)}")
        self._format()
        learning = () if self._classes.exists() else (f"-XX:ArchiveClassesAtExit={self._learned}",)
        for broker in self._brokers:
            self._launch(broker, () if broker.number else learning)
        self._learner = self._brokers[0].process if learning else None
        for broker in self._brokers:
            self._wait_until_serving(broker, {other.number for other in self._brokers})

    def _end(self) -> None:
        for broker in self._brokers:
            # The first one of a version writes down which classes it loaded when it ends in order. Later ones start faster.
            learns = broker.process is not None and broker.process is self._learner
            self._end_broker(broker, in_order=learns)
        if self._learned.exists():
            self._learned.replace(self._classes)

    def kill(self, broker: int) -> None:
        """End a broker at once, as a crash does. Its data and its port stay."""
        self._end_broker(self._brokers[broker], in_order=False)

    def stop(self, broker: int) -> None:
        """End a broker in order: it hands its partitions over to the others first. Its data and its port stay."""
        self._end_broker(self._brokers[broker], in_order=True)

    def start(self, broker: int) -> None:
        """Start a broker that was killed or stopped, with its data and on its port. Returns when it serves.

        Raises:
            ValueError: it runs.
            ServerUnavailableError: it does not come up; with the end of its log.
        """
        it = self._brokers[broker]
        if it.process is not None:
            raise ValueError(f"broker {broker} runs already")
        self._launch(it)
        self._wait_until_serving(it, {broker})

    def _format(self) -> None:
        """Write the settings and an empty storage for each broker."""
        formats = []
        for broker in self._brokers:
            lines = [f"{name}={value}\n" for name, value in self._properties(broker).items()]
            broker.settings.write_text("".join(line.replace("\\", "\\\\") for line in lines))
            command = ["kafka.tools.StorageTool", "format", "-t", self._cluster_id, "-c", str(broker.settings)]
            if self._has_scram:
                for name, password in self._users.items():
                    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                        command += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
            with broker.log.open("ab") as log:
                formats.append(subprocess.Popen([*self._java, *command], stdout=log, stderr=log))
        codes = [process.wait() for process in formats]
        for broker, code in zip(self._brokers, codes, strict=True):
            if code:
                raise ServerUnavailableError(
                    f"the storage of Kafka {self.version} cannot be formatted: look at the settings\n{log_tail(broker.log)}"
                )

    @property
    def _has_scram(self) -> bool:
        """Storage can be formatted with SCRAM credentials since 3.5."""
        return tuple(int(part) for part in self.version.split(".")[:2]) >= (3, 5)

    def _properties(self, broker: _Broker) -> dict[str, str]:
        properties = broker_properties(broker.addresses, [it.addresses for it in self._brokers], self._protocol)
        if self._users:
            properties |= authentication_properties(self._users, scram=self._has_scram)
        if self._super_users is not None:
            properties |= authorization_properties(self._super_users)
        return {**properties, "log.dirs": str(broker.data), **self._settings}

    def _launch(self, broker: _Broker, options: Sequence[str] = ()) -> None:
        addresses = broker.addresses
        for port in (addresses.client_port, addresses.internal_port, addresses.controller_port):
            ensure_free(port)
        command = [*self._java, *options, "kafka.Kafka", str(broker.settings)]
        broker.process = ServerProcess(
            f"broker {broker.number} of Kafka {self.version}", command, self._folder, broker.log
        )

    def _wait_until_serving(self, broker: _Broker, expected: Collection[int]) -> None:
        """Until this broker says that the expected ones, itself among them, serve."""
        assert broker.process is not None
        port = broker.addresses.internal_port
        broker.process.wait_until(lambda: _live_brokers(port) >= set(expected), self._timeout_s, 0.05)

    def _end_broker(self, broker: _Broker, *, in_order: bool) -> None:
        process, broker.process = broker.process, None
        if process is None:
            return
        if in_order:
            process.stop(self._timeout_s)
        else:
            process.close()


def _live_brokers(port: int) -> set[int]:
    """The brokers that the broker at `port` believes to be alive; none when it does not answer."""
    client = b"tidegate"
    request = struct.pack(">hhih", 3, 4, 1, len(client)) + client + struct.pack(">ib", 0, 0)  # Metadata v4, no topics
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as answer:
                (size,) = struct.unpack(">i", answer.read(4))
                body = answer.read(size)
    except (OSError, struct.error):
        return set()
    (count,) = struct.unpack_from(">i", body, 8)
    position, found = 12, set()
    for _ in range(count):
        number, host_length = struct.unpack_from(">ih", body, position)
        position += 6 + host_length + 4
        (rack_length,) = struct.unpack_from(">h", body, position)
        position += 2 + max(rack_length, 0)
        found.add(number)
    return found


def main() -> None:
    """Run brokers until an interrupt, printing the servers first."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.engine.testing.kafka", description=main.__doc__)
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--version", default=KAFKA_VERSION)
    parser.add_argument("--port", type=int, help="of the first broker; any free one when left out")
    parser.add_argument(
        "--while-locked",
        type=Path,
        metavar="FILE",
        help="end when no process holds a lock on FILE, and remove it",
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalKafka(arguments.brokers, version=arguments.version, port=arguments.port) as kafka:
            print(kafka.servers, flush=True)
            if arguments.while_locked is None:
                signal.pause()
            else:
                with arguments.while_locked.open() as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    arguments.while_locked.unlink()
    except ServerUnavailableError as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
