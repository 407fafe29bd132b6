"""A real schema registry on this machine, for tests: Apicurio Registry from its published archive, which speaks Confluent's
REST protocol.

    with LocalSchemaRegistry() as registry:
        ...  # formats.avro(Flight, registry=registry.url)

    with LocalKafka() as kafka, LocalSchemaRegistry(kafka.internal_servers) as registry:
        ...  # it keeps its schemas in a topic of that cluster

It needs `java` 17 or newer, and once `mvn`, which fetches the archive into a cache. Run as a module it is a registry to work
with: `python -m tidegate.engine.testing.schema_registry --port 8081`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from ...operators.time import Duration
from .kafka_jars import java_command
from .ports import HOST, ensure_free, free_ports
from .servers import LocalServer, ServerProcess, ServerUnavailableError, cache_folder, locked

REGISTRY_VERSION = "3.0.9"
"""The newest that runs on Java 17."""

_PATH = "/apis/ccompat/v7"

_JAVA_OPTIONS = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # it lives for seconds: what the second compiler makes comes too late
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)


class LocalSchemaRegistry(LocalServer):
    """A schema registry on the loopback interface. A context manager: see `LocalServer`. What it kept in memory goes with it.

    Args:
        kafka: servers of the cluster in which it keeps its schemas; None keeps them in memory.
        port: where it listens; None for any free one.
        start_timeout: how long it may take until it serves.
    """

    def __init__(self, kafka: str | None = None, *, port: int | None = None, start_timeout: Duration = "90s") -> None:
        super().__init__("registry", start_timeout)
        self._kafka = kafka
        self._port = port
        self._log = self._folder / "registry.log"

    @property
    def url(self) -> str:
        """What clients are given."""
        return f"http://{HOST}:{self._port}{_PATH}"

    def _open(self) -> None:
        java, archive = java_command(), registry_archive()
        self._port = self._port or free_ports(1)[0]
        self._process = self._start(java, archive)
        self._process.wait_until(self._serves, self._timeout_s, 0.1)

    def _start(self, java: str, archive: Path) -> ServerProcess:
        assert self._port is not None
        ensure_free(self._port)  # another registry on this port would answer in its stead
        environment = {
            "QUARKUS_HTTP_HOST": HOST,
            "QUARKUS_HTTP_PORT": str(self._port),
            "APICURIO_STORAGE_KIND": "kafkasql" if self._kafka else "sql",
        }
        if self._kafka:
            environment["APICURIO_KAFKASQL_BOOTSTRAP_SERVERS"] = self._kafka
        command = [java, *_JAVA_OPTIONS, "-jar", str(_runner(archive))]
        return ServerProcess("the schema registry", command, self._folder, self._log, environment)

    def _serves(self) -> bool:
        assert self._port is not None
        connection = http.client.HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", f"{_PATH}/subjects")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def registry_archive(version: str = REGISTRY_VERSION) -> Path:
    """The folder with the unpacked registry; fetched at the first call, then kept.

    The cache is `tidegate/schema-registry/<version>` in XDG_CACHE_HOME or `~/.cache`. Of several processes that ask at once,
    one fetches and the others wait for it. A folder that is there is whole.

    Raises:
        ServerUnavailableError: it is not in the cache, and Maven is missing or cannot fetch it.
    """
    cache = cache_folder("schema-registry")
    archive = cache / version
    if archive.is_dir():
        return archive
    with locked(cache / f"{version}.lock"):
        if not archive.is_dir():
            _fetch(version, archive)
    return archive


def _fetch(version: str, archive: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServerUnavailableError(
            f"the schema registry {version} is not in {archive.parent} and Maven is not there to fetch it: install Maven (mvn)"
        )
    artifact = f"io.apicurio:apicurio-registry-app:{version}:tar.gz:all"
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        packed, unpacked = Path(folder, "registry.tar.gz"), Path(folder, "unpacked")
        unpacked.mkdir()
        # Of this version the plugin takes one file without asking for its parents, and copies it to a place of our choice.
        get = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"
        run = subprocess.run(
            [maven, "-B", "-ntp", get, f"-Dartifact={artifact}", "-Dtransitive=false", f"-Ddest={packed}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        if run.returncode or not packed.is_file():
            reasons = [line for line in run.stdout.splitlines() if line.startswith("[ERROR]")] or [run.stderr.strip()]
            raise ServerUnavailableError(
                f"Maven cannot fetch {artifact}: {reasons[0]}; check that Maven reaches its repository"
            )
        shutil.unpack_archive(packed, unpacked, filter="data")
        unpacked.rename(archive)


def _runner(archive: Path) -> Path:
    found = [*archive.glob("quarkus-run.jar"), *archive.glob("*-runner.jar")]
    if not found:
        raise ServerUnavailableError(f"{archive} has no schema registry in it: remove it, so that it is fetched again")
    return found[0]


def main() -> None:
    """Run a registry until an interrupt, printing its url first."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.engine.testing.schema_registry", description=main.__doc__)
    parser.add_argument("--kafka", help="servers of the cluster in which it keeps its schemas; in memory when left out")
    parser.add_argument("--port", type=int, help="any free one when left out")
    arguments = parser.parse_args()
    try:
        with LocalSchemaRegistry(arguments.kafka, port=arguments.port) as registry:
            print(registry.url, flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except ServerUnavailableError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
