"""The client of a schema registry, and formats that use one."""

from __future__ import annotations

import base64
import json
import secrets

import msgspec
import pytest
from tidegate.connectors import formats
from tidegate.connectors.formats.schema_registry import Reference, Schema, SchemaRegistry, SchemaRegistryError

LONG = Schema("AVRO", '"long"')


async def at_once(function, *args):
    """The executor of a connector, without threads."""
    return function(*args)


class Flight(msgspec.Struct):
    origin: str
    delay: float | None = None


class Other(msgspec.Struct):
    name: str


# --- the client


def test_a_schema_is_fetched_once(scripted):
    """What an id means never changes."""
    scripted.answers["GET /schemas/ids/7"] = 200, {"schema": '"long"'}
    registry = SchemaRegistry(scripted.url)
    assert (registry.known(7), registry.fetch(7), registry.fetch(7), registry.known(7)) == (None, LONG, LONG, LONG)
    assert scripted.asked == ["GET /schemas/ids/7"]


def test_an_id_that_is_not_there_is_asked_for_again(scripted):
    """The registry may learn of it later."""
    registry = SchemaRegistry(scripted.url)
    assert registry.fetch(7) is None
    scripted.answers["GET /schemas/ids/7"] = 200, {"schema": '"long"', "schemaType": "AVRO"}
    assert registry.fetch(7) == LONG


def test_what_a_schema_imports_comes_with_it(scripted):
    """With the innermost first, each once."""
    inner, outer = {"name": "i", "subject": "in", "version": 1}, {"name": "o", "subject": "out/x", "version": 2}
    scripted.answers |= {
        "GET /schemas/ids/7": (200, {"schema": "top", "schemaType": "PROTOBUF", "references": [outer, inner]}),
        "GET /subjects/out%2Fx/versions/2": (200, {"schema": "outer", "references": [inner]}),
        "GET /subjects/in/versions/1": (200, {"schema": "inner"}),
    }
    assert SchemaRegistry(scripted.url).fetch(7) == Schema(
        "PROTOBUF", "top", (Reference("o", "out/x", 2), Reference("i", "in", 1)), (("i", "inner"), ("o", "outer"))
    )


@pytest.mark.parametrize(
    ("status", "body", "retriable", "says"),
    [
        (500, {"error_code": 50001, "message": "the store is away"}, True, "the store is away"),
        (503, b"<html>busy</html>", True, "503"),
        (429, b"", True, "429"),
        (401, {"error_code": 401, "message": "who"}, False, "it wants credentials"),
        (403, b"", False, "access is denied"),
        (409, {"error_code": 409, "message": "field x is gone"}, False, "not compatible.*field x is gone"),
        (422, {"error_code": 42201, "message": "no schema"}, False, "invalid: no schema"),
        (404, b"<html>no such page</html>", False, "404"),
        (302, b"", False, "302"),
        (200, b"<html>welcome</html>", False, "check the url"),
    ],
)
def test_a_refusal_is_one_clear_error(scripted, status, body, retriable, says):
    """It names the registry and the subject, and says whether trying again may help."""
    scripted.answers["POST /subjects/orders-value/versions"] = status, body
    with pytest.raises(SchemaRegistryError, match=says) as caught:
        SchemaRegistry(scripted.url).register("orders-value", LONG)
    assert caught.value.retriable is retriable
    assert scripted.url in str(caught.value)
    assert "'orders-value'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(scripted.asked) == 1


def test_a_registry_that_is_away_is_worth_another_try(scripted):
    """The error names the address."""
    scripted.close()
    with pytest.raises(SchemaRegistryError, match=f"{scripted.url}: it cannot be reached") as caught:
        SchemaRegistry(scripted.url).fetch(1)
    assert caught.value.retriable


def test_of_several_addresses_the_first_that_answers_is_used(scripted):
    """Those in front of it may be away."""
    scripted.answers["GET /schemas/ids/7"] = 200, {"schema": '"long"'}
    assert SchemaRegistry(f"http://127.0.0.1:1,{scripted.url}/").fetch(7) == LONG


def test_credentials_are_sent_and_never_shown(scripted, monkeypatch, tmp_path):
    """Neither printing nor an error gives them away; a file is read anew each time."""
    monkeypatch.setenv("REGISTRY_PASSWORD", "s3cret")
    (tmp_path / "token").write_text("t0ken\n")
    basic = SchemaRegistry(scripted.url, username="me", password="env:REGISTRY_PASSWORD")
    bearer = SchemaRegistry(scripted.url, token=f"file:{tmp_path}/token")
    scripted.answers["GET /schemas/ids/7"] = 401, {"error_code": 401, "message": "no"}
    for registry in (basic, bearer):
        with pytest.raises(SchemaRegistryError, match="check the credentials") as caught:
            registry.fetch(7)
        assert "s3cret" not in f"{caught.value} {registry!r}"
        assert "t0ken" not in f"{caught.value} {registry!r}"
    assert [headers["authorization"] for headers in scripted.headers] == [
        f"Basic {base64.b64encode(b'me:s3cret').decode()}",
        "Bearer t0ken",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": "localhost:8081"}, 'write "http://host:port"'),
        ({"url": "http://me:s3cret@localhost"}, "no credentials in the url"),
        ({"url": "http://a", "username": "me"}, "belong together"),
        ({"url": "http://a", "username": "me", "password": "s3cret"}, "by reference"),
        ({"url": "http://a", "username": "me", "password": "env:P", "token": "env:T"}, "either a token"),
        ({"url": "http://a", "subjects": "subject"}, "topic_record"),
        ({"url": "http://a", "on_write": "never"}, "lookup"),
    ],
)
def test_wrong_settings_are_refused_at_once(arguments, says):
    """And a credential that was given as itself is not repeated."""
    with pytest.raises(ValueError, match=says) as caught:
        SchemaRegistry(**arguments)
    assert "s3cret" not in str(caught.value)


def test_a_subject_has_the_name_that_its_strategy_gives():
    """The strategies of Confluent's clients, or a function."""

    def subject(subjects, record="com.acme.Order"):
        return SchemaRegistry("http://a", subjects=subjects).subject("orders", "key", record)

    assert subject("topic") == "orders-key"
    assert subject("record") == "com.acme.Order"
    assert subject("topic_record") == "orders-com.acme.Order"
    assert subject(lambda topic, part, record: f"{topic}/{part}/{record}") == "orders/key/com.acme.Order"
    for strategy in ("record", "topic_record"):
        with pytest.raises(ValueError, match="a schema with a name"):
            subject(strategy, None)


# --- formats with a registry


async def test_an_unknown_id_costs_its_own_record_only(scripted):
    """Its reason names id and registry, and the neighbours are decoded."""
    scripted.answers["GET /schemas/ids/7"] = 200, {"schema": '"long"'}
    fmt = formats.avro(int, registry=scripted.url).for_topic("numbers", "value")
    payloads = [b"\0\0\0\0\7\2", b"\0\0\0\0\x08\2", b"\0\0\0\0\7\4"]
    await fmt.prepare_decode(payloads, at_once)
    decoded = fmt.decode_messages(payloads)
    assert (decoded.values, list(decoded.starts)) == ([1, 2], [0, 2])
    assert [(bad.start, bad.raw, bad.reason) for bad in decoded.undecodable] == [
        (1, payloads[1], f"schema 8 is not in the registry {scripted.url}")
    ]


async def test_a_registry_that_is_away_makes_no_record_bad(scripted):
    """Preparing raises, with the topic; once the schema is known the registry is needed no more."""
    scripted.answers["GET /schemas/ids/7"] = 503, {"error_code": 50301, "message": "later"}
    fmt = formats.avro(int, registry=scripted.url).for_topic("numbers", "value")
    payloads = [b"\0\0\0\0\7\2"]
    with pytest.raises(SchemaRegistryError, match=r"topic 'numbers', value: schema registry .*later") as caught:
        await fmt.prepare_decode(payloads, at_once)
    assert caught.value.retriable
    scripted.answers["GET /schemas/ids/7"] = 200, {"schema": '"long"'}
    await fmt.prepare_decode(payloads, at_once)
    scripted.close()
    await fmt.prepare_decode(payloads, at_once)
    assert fmt.decode_messages(payloads).values == [1]


async def test_records_of_several_schemas_keep_their_order(scripted):
    """However they alternate, with bad ones between."""
    scripted.answers |= {
        f"GET /schemas/ids/{id}": (200, {"schema": f'"{kind}"'}) for id, kind in ((1, "int"), (2, "double"))
    }
    fmt = formats.avro(float, registry=scripted.url)
    half = b"\0\0\0\0\2\0\0\0\0\0\0\xe0\x3f"
    one = b"\0\0\0\0\1\2"
    payloads = [half, one, b"", one[:5], half[:-1], half, one, b"\1\0\0\0\1\2"]
    await fmt.prepare_decode(payloads, at_once)
    decoded = fmt.decode_messages(payloads)
    assert (decoded.values, list(decoded.starts)) == ([0.5, 1.0, 0.5, 1.0], [0, 1, 5, 6])
    assert [bad.start for bad in decoded.undecodable] == [2, 3, 4, 7]


async def test_a_schema_in_another_language_is_named(scripted):
    """Avro is not tried on what is not Avro."""
    scripted.answers["GET /schemas/ids/7"] = 200, {"schema": "{}", "schemaType": "JSON"}
    fmt = formats.avro(int, registry=scripted.url)
    await fmt.prepare_decode([b"\0\0\0\0\7{}"], at_once)
    assert (
        fmt.decode_messages([b"\0\0\0\0\7{}"]).undecodable[0].reason == "schema 7 cannot be used: it is JSON, not AVRO"
    )


async def test_a_damaged_schema_makes_its_records_bad(scripted):
    """It does not stop the reader."""
    scripted.answers["GET /schemas/ids/7"] = 200, {"schema": '{"type": "record"}'}
    fmt = formats.avro(int, registry=scripted.url)
    await fmt.prepare_decode([b"\0\0\0\0\7\2"], at_once)
    assert (
        fmt.decode_messages([b"\0\0\0\0\7\2"])
        .undecodable[0]
        .reason.startswith("schema 7 cannot be used: it is no Avro")
    )


def test_a_format_tells_what_it_is():
    """With the registry, without credentials; and whether it must be prepared."""
    registry = SchemaRegistry("http://registry:8081", username="me", password="env:PASSWORD")
    fmt = formats.avro(Flight, registry=registry)
    assert fmt.describe() == "avro(Flight) in http://registry:8081"
    assert isinstance(fmt, formats.RegisteredFormat)
    assert not isinstance(formats.avro(Flight), formats.RegisteredFormat)


async def test_a_writer_that_is_bound_to_no_topic_says_so(scripted):
    """The subject of its schema would have no name."""
    with pytest.raises(SchemaRegistryError, match=r"avro\(Flight\): .*not bound to a topic") as caught:
        await formats.avro(Flight, registry=scripted.url).prepare_encode(at_once)
    assert not caught.value.retriable


@pytest.fixture
def topic():
    """A name that no other test uses."""
    return f"t-{secrets.token_hex(4)}"


@pytest.mark.slow
class TestWriting:
    """Against a real registry."""

    async def test_a_new_schema_is_registered_under_its_subject(self, registry_url, topic):
        """And written with the id that it has there."""
        fmt = formats.avro(Flight, registry=SchemaRegistry(registry_url)).for_topic(topic, "value")
        await fmt.prepare_encode(at_once)
        payload = fmt.encode_messages([Flight("JFK")])[0]
        id, schema = SchemaRegistry(registry_url).latest(f"{topic}-value")
        assert payload == b"\0" + id.to_bytes(4, "big") + b"\x06JFK\0"
        assert json.loads(schema.text)["name"] == "Flight"

    async def test_looking_up_registers_nothing(self, registry_url, topic):
        """A schema that is not there is an error that shows it; one that is there is used."""
        lookup = SchemaRegistry(registry_url, on_write="lookup")
        with pytest.raises(
            SchemaRegistryError, match=f"topic '{topic}', value: .*'{topic}-value' does not have"
        ) as caught:
            await formats.avro(Flight, registry=lookup).for_topic(topic, "value").prepare_encode(at_once)
        assert not caught.value.retriable
        registered = formats.avro(Flight, registry=registry_url).for_topic(topic, "value")
        await registered.prepare_encode(at_once)
        looked_up = formats.avro(Flight, registry=lookup).for_topic(topic, "value")
        await looked_up.prepare_encode(at_once)
        assert looked_up.encode_messages([Flight("JFK")]) == registered.encode_messages([Flight("JFK")])

    async def test_the_latest_schema_is_written_when_asked_for(self, registry_url, topic):
        """What it has no field for is refused, and not dropped in silence."""
        registry = SchemaRegistry(registry_url, on_write="latest")
        with pytest.raises(SchemaRegistryError, match=f"'{topic}-value' has no schema"):
            await formats.avro(Flight, registry=registry).for_topic(topic, "value").prepare_encode(at_once)
        fields = [{"name": "origin", "type": "string"}, {"name": "n", "type": "int", "default": 3}]
        schema = {"type": "record", "name": "Theirs", "fields": fields}
        registry.register(f"{topic}-value", Schema("AVRO", json.dumps(schema)))
        untyped = formats.avro(registry=registry).for_topic(topic, "value")
        await untyped.prepare_encode(at_once)
        payloads = untyped.encode_messages([{"origin": "JFK"}])
        await untyped.prepare_decode(payloads, at_once)
        assert untyped.decode_messages(payloads).values == [{"origin": "JFK", "n": 3}]
        typed = formats.avro(Flight, registry=registry).for_topic(topic, "value")
        await typed.prepare_encode(at_once)
        with pytest.raises(ValueError, match="delay"):
            typed.encode_messages([Flight("JFK", 1.0)])

    async def test_a_schema_that_is_not_compatible_is_refused(self, registry_url, topic):
        """Before anything is written, with the subject."""
        registry = SchemaRegistry(registry_url)
        await formats.avro(Flight, registry=registry).for_topic(topic, "value").prepare_encode(at_once)
        compatibility(registry_url, f"{topic}-value", "BACKWARD")
        with pytest.raises(SchemaRegistryError, match=f"'{topic}-value': the schema is not compatible") as caught:
            await formats.avro(Other, registry=registry).for_topic(topic, "value").prepare_encode(at_once)
        assert not caught.value.retriable

    async def test_each_strategy_finds_its_own_schema_again(self, registry_url, topic):
        """Keys and values, and records in several topics."""
        for subjects in ("topic", "record", "topic_record"):
            registry = SchemaRegistry(registry_url, subjects=subjects)
            for part in ("key", "value"):
                fmt = formats.avro(Flight, namespace="com.acme", registry=registry).for_topic(topic, part)
                await fmt.prepare_encode(at_once)
                payloads = fmt.encode_messages([Flight("JFK")])
                reader = formats.avro(Flight, registry=registry_url)
                await reader.prepare_decode(payloads, at_once)
                assert reader.decode_messages(payloads).values == [Flight("JFK")]
                expected = {"topic": f"{topic}-{part}", "record": "com.acme.Flight"}
                SchemaRegistry(registry_url).latest(expected.get(subjects, f"{topic}-com.acme.Flight"))


def compatibility(url, subject, level):
    """Tell the registry which changes of a subject it allows."""
    import urllib.request

    request = urllib.request.Request(
        f"{url}/config/{subject}",
        data=json.dumps({"compatibility": level}).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request).close()
