"""A real object store for tests."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store
from tidegate.engine.testing import s3_server
from tidegate.engine.testing.s3_server import REGION, LocalS3
from tidegate.engine.testing.servers import ServerUnavailableError


def store_of(s3: LocalS3) -> S3Store:
    """The bucket, as its owner."""
    return S3Store(
        s3.bucket,
        endpoint=s3.endpoint,
        region=REGION,
        access_key_id=s3.access_key,
        secret_access_key=s3.secret_key,
        client_options={"allow_http": True},
    )


def test_it_has_what_checkpoints_need(s3: LocalS3) -> None:
    """Whole objects, conditional ones, parts of them, listings; each object is a file in a folder."""
    store = store_of(s3)
    store.put("kit/one", b"0123456789", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("kit/one", b"another", mode="create")
    assert bytes(store.get_range("kit/one", start=2, end=5)) == b"234"
    assert [found["path"] for page in store.list("kit") for found in page] == ["kit/one"]
    assert (s3.objects / "kit" / "one").read_bytes() == b"0123456789"
    store.put("kit/big", bytes(11 << 20), use_multipart=True)
    assert store.head("kit/big")["size"] == 11 << 20
    store.delete("kit/one")
    with pytest.raises(FileNotFoundError):
        store.get("kit/one")


def test_a_store_that_was_killed_is_started_with_its_objects() -> None:
    """On the same port: clients need not be told."""
    with LocalS3() as s3:
        store_of(s3).put("kit/kept", b"here")
        address = s3.address
        s3.kill()
        assert s3.pid is None
        s3.start()
        assert (s3.address, bytes(store_of(s3).get("kit/kept").bytes())) == (address, b"here")
        with pytest.raises(ValueError, match="runs already"):
            s3.start()


LEFT_BEHIND = """
import sys
from tidegate.engine.testing.s3_server import LocalS3
with LocalS3() as s3:
    print(s3.pid, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_it_ends_with_the_process_that_started_it(s3: LocalS3) -> None:
    """Also when that one is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", LEFT_BEHIND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        waiting = os.pidfd_open(pid)
        process.send_signal(signal.SIGKILL)
    try:
        ended, _, _ = select.select([waiting], [], [], 30)
        assert ended
    finally:
        os.close(waiting)


def test_without_go_it_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match="Go is not there to build it: install Go"):
        LocalS3().__enter__()
    assert not s3_server.gateway_is_built()


def test_a_go_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last line; nothing is left half built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "go").write_text("#!/bin/sh\necho working\necho no such version >&2\nexit 1\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ServerUnavailableError, match=r"Go cannot build .*: no such version; check that"):
        s3_server.gateway_program()
    assert not s3_server.gateway_is_built()
