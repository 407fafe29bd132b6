"""A real store with the interface of Azure Blob Storage on this machine, for tests: Microsoft's Azurite.

    with LocalAzure() as azure:
        ...  # RunConfig(checkpoints=azure.url("state"), checkpoint_store=azure.options)

It needs Node with npm once, which installs it into a cache; that takes minutes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import secrets
import shutil
import subprocess
import tempfile
from email.utils import formatdate
from pathlib import Path

from ...operators.time import Duration
from .ports import HOST, ensure_free, free_ports
from .servers import LocalServer, ServerProcess, ServerUnavailableError, cache_folder, locked

AZURITE_VERSION = "3.35.0"

_API_VERSION = "2021-08-06"
_PROGRAM = Path("node_modules", ".bin", "azurite-blob")


class LocalAzure(LocalServer):
    """A store with one container on the loopback interface. A context manager: see `LocalServer`; its blobs go with it.

    Args:
        container: its name.
        start_timeout: how long it may take until it serves.
    """

    def __init__(self, container: str = "tidegate", *, start_timeout: Duration = "60s") -> None:
        super().__init__("azure", start_timeout)
        self.container = container
        self.account = "tidegate"
        self._key = secrets.token_bytes(64)
        self._port: int | None = None

    def url(self, prefix: str = "", *, container: str | None = None) -> str:
        """The location of a prefix."""
        return f"az://{container or self.container}/{prefix}".rstrip("/")

    @property
    def options(self) -> dict[str, str]:
        """For the setting `checkpoint_store`. The key is a reference to a file."""
        return {
            "account_name": self.account,
            "account_key": f"file:{self._folder / 'account-key'}",
            "endpoint": f"http://{HOST}:{self._port}/{self.account}",
        }

    def _open(self) -> None:
        program = azurite_program()
        (self._port,) = free_ports(1)
        (self._folder / "account-key").write_text(self._encoded_key)
        self._process = self._start(program)
        self._process.wait_until(self._made_container, self._timeout_s, 0.1)

    @property
    def _encoded_key(self) -> str:
        return base64.b64encode(self._key).decode()

    def _start(self, program: Path) -> ServerProcess:
        assert self._port is not None
        ensure_free(self._port)  # another one on this port would answer in its stead
        command = [
            str(program),
            "--blobHost",
            HOST,
            "--blobPort",
            str(self._port),
            "--location",
            str(self._folder / "blobs"),
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",  # obstore speaks newer ones, for what it has in common with them
        ]
        accounts = {"AZURITE_ACCOUNTS": f"{self.account}:{self._encoded_key}"}
        return ServerProcess("the Azure store", command, self._folder, self._folder / "azurite.log", accounts)

    def _made_container(self) -> bool:
        """Make the container, which obstore cannot; whether there was an answer."""
        assert self._port is not None
        date = formatdate(usegmt=True)
        signed = (
            f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:{_API_VERSION}\n"
            f"/{self.account}/{self.account}/{self.container}\nrestype:container"
        )
        signature = base64.b64encode(hmac.digest(self._key, signed.encode(), hashlib.sha256)).decode()
        headers = {
            "x-ms-date": date,
            "x-ms-version": _API_VERSION,
            "Authorization": f"SharedKey {self.account}:{signature}",
            "Content-Length": "0",
        }
        connection = http.client.HTTPConnection(HOST, self._port, timeout=10)
        try:
            connection.request("PUT", f"/{self.account}/{self.container}?restype=container", headers=headers)
            answer = connection.getresponse()
            if answer.status not in (201, 409):
                raise ServerUnavailableError(f"the Azure store makes no container: {answer.status} {answer.reason}")
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def azurite_is_installed(version: str = AZURITE_VERSION) -> bool:
    """Whether Azurite is in the cache."""
    return (_home(version) / _PROGRAM).exists()


def azurite_program(version: str = AZURITE_VERSION) -> Path:
    """Azurite's program; installed at the first call, then kept in the cache of the testing kit's servers.

    Raises:
        ServerUnavailableError: it is not in the cache, and npm is missing or cannot install it; or there is no Node.
    """
    if shutil.which("node") is None:
        raise ServerUnavailableError("there is no Node (node) to run the Azure store with: install Node 20 or newer")
    home = _home(version)
    if not (home / _PROGRAM).exists():
        with locked(home.with_suffix(".lock")):
            if not (home / _PROGRAM).exists():
                _install(version, home)
    return home / _PROGRAM


def _home(version: str) -> Path:
    return cache_folder("azure") / f"azurite-{version}"


def _install(version: str, home: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ServerUnavailableError(
            f"Azurite {version} is not in {home.parent} and npm is not there to install it: install Node with npm"
        )
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        made = Path(folder, "home")
        made.mkdir()
        run = subprocess.run(
            [npm, "install", "--prefix", str(made), "--no-audit", "--no-fund", f"azurite@{version}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=made,
        )
        if run.returncode or not (made / _PROGRAM).exists():
            reason = (run.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise ServerUnavailableError(
                f"npm cannot install azurite@{version}: {reason}; check that it reaches its registry"
            )
        shutil.rmtree(home, ignore_errors=True)
        made.rename(home)
