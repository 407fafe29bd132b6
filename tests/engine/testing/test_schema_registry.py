"""Registries of the testing kit."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest
from tidegate.connectors.formats.schema_registry import Schema, SchemaRegistry, SchemaRegistryError
from tidegate.engine.testing.schema_registry import LocalSchemaRegistry, registry_archive
from tidegate.engine.testing.servers import ServerUnavailableError

LONG = Schema("AVRO", '"long"')

needs_java = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("java", "mvn")), reason="a local registry needs Java and Maven"
)


@pytest.mark.slow
@needs_java
def test_a_registry_in_memory_serves_and_forgets():
    """It is there inside the block, and afterwards it is gone."""
    with LocalSchemaRegistry() as local:
        id = SchemaRegistry(local.url).register("numbers-value", LONG)
        assert SchemaRegistry(local.url).latest("numbers-value") == (id, LONG)
    with pytest.raises(SchemaRegistryError, match="cannot be reached"):
        SchemaRegistry(local.url).fetch(1)


@pytest.mark.slow
@needs_java
@pytest.mark.timeout(240)
def test_a_registry_on_a_cluster_keeps_its_schemas(kafka_servers):
    """Another one on the same cluster knows them by the same ids."""
    with LocalSchemaRegistry(kafka_servers) as first:
        id = SchemaRegistry(first.url).register("kept-value", LONG)
    with LocalSchemaRegistry(kafka_servers) as second:
        assert SchemaRegistry(second.url).fetch(id) == LONG
        assert SchemaRegistry(second.url).latest("kept-value") == (id, LONG)


@pytest.mark.slow
@needs_java
def test_a_registry_ends_with_the_process_that_started_it():
    """Also when that is killed: nothing stays behind."""
    program = (
        "import os, signal, sys; from tidegate.engine.testing.schema_registry import LocalSchemaRegistry\n"
        "with LocalSchemaRegistry() as registry:\n"
        "    print(registry.url, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    # The registry's log is in its own folder; this pipe ends when the last process that has it does.
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == -9
    for _ in range(1000):
        try:
            SchemaRegistry(ran.stdout.strip(), timeout="1s").fetch(1)
        except SchemaRegistryError as error:
            if "cannot be reached" in str(error):
                return
    raise AssertionError("the registry still answers")


@pytest.mark.slow
@needs_java
def test_a_taken_port_is_said_so():
    """Before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerUnavailableError, match=f"port {port} "):
            LocalSchemaRegistry(port=port).__enter__()


def test_without_maven_the_remedy_is_named(monkeypatch, tmp_path):
    """When the archive is not in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerUnavailableError, match="install Maven"):
        registry_archive()
