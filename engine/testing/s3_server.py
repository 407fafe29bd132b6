"""A real S3-compatible object store on this machine, for tests: Versity's gateway over a folder.

    with LocalS3() as s3:
        ...  # RunConfig(checkpoints=s3.url("state"), checkpoint_store=s3.options)

It has conditional writes, multipart uploads, ranges and listings. It needs Go once, which builds it into a cache; that takes
minutes. Run as a module it is a store to work with: `python -m tidegate.engine.testing.s3_server --port 7070`; with
`--build` it is only made sure that it is there.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from ...operators.time import Duration
from .ports import HOST, ensure_free, free_ports
from .servers import LocalServer, ServerProcess, ServerUnavailableError, cache_folder, locked

GATEWAY_VERSION = "v1.8.0"
REGION = "us-east-1"

_PACKAGE = "github.com/versity/versitygw/cmd/versitygw"


class LocalS3(LocalServer):
    """An object store with one bucket on the loopback interface. A context manager: see `LocalServer`; its objects go with it.

    Args:
        bucket: its name.
        port: where it listens; None for any free one.
        start_timeout: how long it may take until it serves.
    """

    def __init__(self, bucket: str = "tidegate", *, port: int | None = None, start_timeout: Duration = "30s") -> None:
        super().__init__("s3", start_timeout)
        self.bucket = bucket
        self.access_key = "tidegate"
        self.secret_key = secrets.token_hex(16)
        self._port = port
        self._log = self._folder / "gateway.log"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port: what a proxy in front of it forwards to.

        Raises:
            RuntimeError: it has not been started.
        """
        if self._port is None:
            raise RuntimeError("the store has an address when it runs: use it inside `with`")
        return HOST, self._port

    @property
    def endpoint(self) -> str:
        """What clients connect to."""
        return "http://{}:{}".format(*self.address)

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._process.pid if self._process else None

    @property
    def objects(self) -> Path:
        """The folder in which each object of the bucket is a file."""
        return self._folder / "buckets" / self.bucket

    def url(self, prefix: str = "", *, bucket: str | None = None) -> str:
        """The location of a prefix."""
        return f"s3://{bucket or self.bucket}/{prefix}".rstrip("/")

    @property
    def options(self) -> dict[str, str]:
        """For the setting `checkpoint_store`. Credentials are references: see `environment`."""
        return {
            "endpoint": self.endpoint,
            "region": REGION,
            "access_key_id": f"file:{self._folder / 'access-key'}",
            "secret_access_key": f"file:{self._folder / 'secret-key'}",
        }

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """What a process needs in its environment; through a proxy with that one's endpoint."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def _open(self) -> None:
        self._port = self._port or free_ports(1)[0]
        (self._folder / "access-key").write_text(self.access_key)
        (self._folder / "secret-key").write_text(self.secret_key)
        self.objects.mkdir(parents=True)
        (self._folder / "attributes").mkdir()
        self.start()

    def kill(self) -> None:
        """End it at once, as a crash does. Its objects and its port stay. Does nothing when it does not run."""
        self._end()

    def start(self) -> None:
        """Start one that was killed, with its objects and on its port. Returns when it serves.

        Raises:
            ValueError: it runs.
            ServerUnavailableError: it does not come up; with the end of its log.
        """
        if self._process is not None:
            raise ValueError("the store runs already")
        self._process = self._start(gateway_program())
        self._process.wait_until(self._serves, self._timeout_s, 0.02)

    def _start(self, gateway: Path) -> ServerProcess:
        assert self._port is not None
        ensure_free(self._port)  # another one on this port would answer in its stead
        keys = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        # Attributes in a folder of their own: not every file system has extended ones.
        storage = ["posix", "--sidecar", str(self._folder / "attributes"), str(self._folder / "buckets")]
        command = [
            str(gateway),
            "--port",
            f"{HOST}:{self._port}",
            "--region",
            REGION,
            "--quiet",
            "--keep-alive",
            *storage,
        ]
        return ServerProcess("the object store", command, self._folder, self._log, keys)

    def _serves(self) -> bool:
        connection = http.client.HTTPConnection(*self.address, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def gateway_is_built(version: str = GATEWAY_VERSION) -> bool:
    """Whether the gateway's program is in the cache."""
    return (cache_folder("s3") / f"versitygw-{version}").exists()


def gateway_program(version: str = GATEWAY_VERSION) -> Path:
    """The gateway's program; built at the first call, then kept in the cache of the testing kit's servers.

    Raises:
        ServerUnavailableError: it is not in the cache, and Go is missing or cannot build it.
    """
    cache = cache_folder("s3")
    program = cache / f"versitygw-{version}"
    if program.exists():
        return program
    with locked(cache / f"{version}.lock"):
        if not program.exists():
            _build(version, program)
    return program


def _build(version: str, program: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise ServerUnavailableError(
            f"the object store {version} is not in {program.parent} and Go is not there to build it: install Go (go)"
        )
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        run = subprocess.run(
            [go, "install", "-trimpath", "-ldflags=-s -w", f"{_PACKAGE}@{version}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"},
        )
        built = Path(folder, "versitygw")
        if run.returncode or not built.exists():
            reason = (run.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise ServerUnavailableError(
                f"Go cannot build {_PACKAGE}@{version}: {reason}; check that Go is new enough and reaches its module proxy"
            )
        built.rename(program)


def main() -> None:
    """Run a store until an interrupt, printing what its clients need in their environment first."""
    parser = argparse.ArgumentParser(prog="python -m tidegate.engine.testing.s3_server", description=main.__doc__)
    parser.add_argument("--port", type=int, help="any free one when left out")
    parser.add_argument("--bucket", default="tidegate")
    parser.add_argument(
        "--build", action="store_true", help="only make sure that its program is there; without Go only say so"
    )
    arguments = parser.parse_args()
    try:
        if arguments.build and shutil.which("go") is None and not gateway_is_built():
            print("there is no Go (go): tests with an object store will be skipped")
            return
        if arguments.build:
            print(gateway_program())
            return
        with LocalS3(arguments.bucket, port=arguments.port) as s3:
            for name, value in s3.environment().items():
                print(f"{name}={value}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.sigwait({signal.SIGINT, signal.SIGTERM})
    except ServerUnavailableError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
