"""A real broker beside what is measured, on a core of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from .cores import bound_to, other_cores
from .scenario import BenchmarkError, Broker

# Clients are measured: the broker shall not be what they wait for.
_HEAP_MB: Final = 1024
_SETTINGS: Final = {
    # What a side has written is of no use after the check.
    "file.delete.delay.ms": "1000",
    "log.segment.delete.delay.ms": "1000",
    "log.retention.ms": "-1",
}
_CLIENTS: Final = {"aiokafka": "tidegate[kafka]", "confluent_kafka": "confluent-kafka"}


@contextmanager
def running_broker(name: str, *, one_core: bool = True) -> Iterator[Broker]:
    """A fresh broker that ends with the block.

    Args:
        name: of the scenario that needs it.
        one_core: whether it has one core only, another one than what is measured.

    Raises:
        BenchmarkError: there is no Java, no Maven to fetch Kafka with, or no client library; says what to do.
    """
    from tidegate.engine.testing.kafka import LocalKafka
    from tidegate.engine.testing.servers import ServerUnavailableError

    for module, package in _CLIENTS.items():
        if importlib.util.find_spec(module) is None:
            raise BenchmarkError(f"{name} needs {module}: pip install '{package}'")
    kafka = LocalKafka(heap_mb=_HEAP_MB, settings=_SETTINGS)
    try:
        with bound_to(other_cores() if one_core else set()):
            kafka.__enter__()
    except ServerUnavailableError as error:
        raise BenchmarkError(f"{name}: {error}") from None
    with closing(kafka):
        pid = kafka.pid(0)
        assert pid is not None
        yield Broker(kafka.servers, pid)
