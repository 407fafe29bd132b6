"""Records in Avro, Protobuf and JSON Schema through a real broker, with a real registry that keeps its schemas in it."""

from __future__ import annotations

import itertools
import os
import shutil

import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tidegate.connectors import formats, kafka, memory
from tidegate.engine import RunConfig, Topology, run
from tidegate.engine.testing.schema_registry import LocalSchemaRegistry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Flight(msgspec.Struct):
    origin: str
    delay: float | None = None


class Longer(msgspec.Struct):
    """What a flight becomes later: one field more, one less."""

    origin: str
    carrier: str = "??"


FLIGHTS = [Flight("JFK", 1.5), Flight("Zürich"), Flight("")]


@pytest.fixture(scope="module")
def registry_url(kafka_servers):
    """A registry on the broker of the tests, or that of TIDEGATE_SCHEMA_REGISTRY."""
    if named := os.environ.get("TIDEGATE_SCHEMA_REGISTRY"):
        yield named
    elif missing := [program for program in ("java", "mvn") if shutil.which(program) is None]:
        pytest.skip(f"no schema registry: TIDEGATE_SCHEMA_REGISTRY is not set, no {' and no '.join(missing)}")
    else:
        with LocalSchemaRegistry(kafka_servers) as registry:
            yield registry.url


@pytest.fixture
def write(kafka_servers, tmp_path):
    """Runs a topology that writes records to a topic; each time another one, that starts from nothing."""
    runs = itertools.count()

    def run_to_the_end(topic, fmt, values):
        topology = Topology(f"write-{topic}-{next(runs)}")
        topology.source("records", memory.source(values)).sink("topic", kafka.sink(kafka_servers, topic, format=fmt))
        run(topology, RunConfig(checkpoints=tmp_path / topology.name), live=False)

    return run_to_the_end


@pytest.fixture
def read(kafka_servers):
    """Runs a topology that reads a topic to its present end: the records, and the reasons of those that are bad."""

    def run_to_the_end(topic, fmt):
        topology, good, bad = Topology(f"read-{topic}"), memory.sink(), memory.sink()
        source = kafka.source(kafka_servers, topic, format=fmt, stop_at_end=True)
        records = topology.source("topic", source, on_error="dead_letter")
        records.sink("good", good)
        records.side_output("failed").map(lambda letter: letter.error).sink("bad", bad)
        run(topology, live=False)
        return good.values, bad.values

    return run_to_the_end


@pytest.fixture
def produce(kafka_servers):
    """Writes payloads as they are, with another client."""
    from confluent_kafka import Producer

    def send(topic, *payloads):
        producer = Producer({"bootstrap.servers": kafka_servers, "log_level": 3})
        for payload in payloads:
            producer.produce(topic, payload)
        assert producer.flush(30) == 0

    return send


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda url: formats.avro(Flight, registry=url), FLIGHTS),
        (lambda url: formats.json_schema(Flight, registry=url), FLIGHTS),
        (
            lambda url: formats.protobuf(Timestamp, registry=url),
            [Timestamp(seconds=1), Timestamp(), Timestamp(nanos=3)],
        ),
    ],
    ids=["avro", "json", "protobuf"],
)
def test_records_come_back_and_bad_ones_are_reported(registry_url, new_topic, write, read, produce, make, values):
    """A reader that has fetched nothing gets all records; an unknown schema and a damaged payload cost nothing else."""
    topic = new_topic()
    write(topic, make(registry_url), values)
    id, _ = formats.SchemaRegistry(registry_url).latest(f"{topic}-value")
    head = b"\0" + id.to_bytes(4, "big")
    produce(topic, b"\0\x7f\xff\xff\xff\0", head + b"\xff\xff", b"plain")
    write(topic, make(registry_url), values[:1])
    good, reasons = read(topic, make(registry_url))
    assert good == [*values, *values[:1]]
    assert len(reasons) == 3
    assert "schema 2147483647 is not in the registry" in reasons[0]
    assert "begins with a zero byte" in reasons[2]


def test_what_was_written_before_a_change_of_the_type_is_read_in_the_new_one(registry_url, new_topic, write, read):
    """Records of both schemas in one topic, each decoded in the schema in which it was written."""
    topic = new_topic()
    write(topic, formats.avro(Flight, registry=registry_url), FLIGHTS)
    Newer = msgspec.defstruct("Flight", [("origin", str), ("carrier", str, "??")])
    write(topic, formats.avro(Newer, registry=registry_url), [Newer("LAX", "AA")])
    good, reasons = read(topic, formats.avro(Longer, registry=registry_url))
    assert (good, reasons) == ([*(Longer(flight.origin) for flight in FLIGHTS), Longer("LAX", "AA")], [])


def test_a_registry_that_is_away_stops_the_job_and_loses_nothing(registry_url, new_topic, write, read):
    """The error names topic, address and remedy; no record is taken for a bad one."""
    topic = new_topic()
    write(topic, formats.avro(Flight, registry=registry_url), FLIGHTS)
    with pytest.raises(
        Exception, match=f"topic '{topic}', value: schema registry http://127.0.0.1:1: it cannot be reached"
    ):
        read(topic, formats.avro(Flight, registry="http://127.0.0.1:1"))
    assert read(topic, formats.avro(Flight, registry=registry_url)) == (FLIGHTS, [])
