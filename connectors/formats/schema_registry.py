"""A schema registry that speaks Confluent's REST protocol, and its client."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from ...operators.time import Duration, duration_ms
from ..secret import Secret
from ..source import ConnectorError
from .format import Part

SubjectStrategy = Literal["topic", "record", "topic_record"] | Callable[[str, Part, str | None], str]
"""Under which subject a schema is kept: `"topic"` is `orders-value`, `"record"` the full name of the record,
`"topic_record"` both with a hyphen between; or a function of topic, `"key"` or `"value"`, and the record's full name."""

OnWrite = Literal["register", "lookup", "latest"]
"""What a writer does with its schema: `"register"` it where it is new; `"lookup"` it, and fail when it is not there;
or take the subject's `"latest"` and write in that one."""

_CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"

_TRY_AGAIN: Final = (408, 429)


class SchemaRegistryError(ConnectorError):
    """The registry cannot be reached, or does not do what it was asked for; names it and the subject."""


class Reference(msgspec.Struct, frozen=True):
    """A schema that another one imports.

    Attributes:
        name: as the other schema says it.
        subject: where it is kept.
        version: which of the subject's schemas.
    """

    name: str
    subject: str
    version: int


class Schema(msgspec.Struct, frozen=True):
    """A schema as a registry keeps it.

    Attributes:
        kind: its language: `"AVRO"`, `"PROTOBUF"`, `"JSON"`.
        text: as it was registered.
        references: what it imports by itself.
        imports: names and texts of all that it imports, those that are imported first in front.
    """

    kind: str
    text: str
    references: tuple[Reference, ...] = ()
    imports: tuple[tuple[str, str], ...] = ()


class _Answer(msgspec.Struct):
    """What a registry says of a schema; which fields depends on the question."""

    id: int | None = None
    version: int | None = None
    schema: str = ""
    kind: str | None = msgspec.field(name="schemaType", default=None)
    references: list[Reference] | None = None


class _Refusal(msgspec.Struct):
    message: str = ""
    error_code: int = 0


@dataclass(frozen=True)
class SchemaRegistry:
    """A schema registry with Confluent's REST protocol: Confluent's own, Karapace, Apicurio (`/apis/ccompat/v7`), Redpanda.

        SchemaRegistry("https://registry:8081", username="tidegate", password="env:REGISTRY_PASSWORD")

    Holds references to credentials, never credentials: it may be printed. What it has fetched is kept for as long as the
    object lives, for what an id means never changes.

    Attributes:
        url: where it is; several with commas between are tried in turn when one does not answer.
        username: for basic authentication: the name itself, or a reference to it.
        password: a reference: `env:NAME` or `file:PATH`.
        token: a reference to a bearer token, instead of name and password.
        ca: a PEM file of the authorities that are trusted; those of the system when None.
        subjects: under which subject a schema is kept.
        on_write: what a writer does with its schema.
        timeout: how long one answer may take.

    Raises:
        ValueError: an argument is wrong, or a credential is given as itself.
    """

    url: str
    username: str | None = None
    password: str | None = None
    token: str | None = None
    ca: str | None = None
    subjects: SubjectStrategy = "topic"
    on_write: OnWrite = "register"
    timeout: Duration = "10s"
    _schemas: dict[int, Schema] = field(default_factory=dict, init=False, repr=False, compare=False)
    _ids: dict[tuple[str, Schema], int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for url in self.urls:
            parts = urlsplit(url)
            if parts.username or parts.password:
                raise ValueError("schema registry: no credentials in the url; use username= and password=")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f'schema registry: url={url!r}: write "http://host:port" or "https://host:port"')
        if (self.username is None) != (self.password is None):
            raise ValueError("schema registry: username and password belong together")
        if self.token is not None and self.password is not None:
            raise ValueError("schema registry: either a token, or a name and password")
        for reference in (self.password, self.token):
            if reference is not None:
                Secret(reference)
        if not callable(self.subjects) and self.subjects not in ("topic", "record", "topic_record"):
            raise ValueError(f'subjects={self.subjects!r}: "topic", "record", "topic_record" or a function')
        if self.on_write not in ("register", "lookup", "latest"):
            raise ValueError(f'on_write={self.on_write!r}: "register", "lookup" or "latest"')
        duration_ms(self.timeout)

    @property
    def urls(self) -> list[str]:
        """The addresses, without slashes at their ends."""
        return [url.strip().rstrip("/") for url in self.url.split(",")]

    @staticmethod
    def of(registry: str | SchemaRegistry) -> SchemaRegistry:
        """What a user wrote, a url or a whole registry, as a registry."""
        return registry if isinstance(registry, SchemaRegistry) else SchemaRegistry(registry)

    def subject(self, topic: str | None, part: Part, record: str | None) -> str:
        """The subject of a schema.

        Raises:
            ValueError: the strategy needs a topic or a record's name, and there is none.
        """
        if self.subjects != "record" and topic is None:
            raise ValueError("subject: the format is not bound to a topic; use it in a connector of topics")
        if self.subjects == "topic":
            return f"{topic}-{part}"
        if callable(self.subjects):
            return self.subjects(topic or "", part, record)
        if record is None:
            raise ValueError(f'subjects="{self.subjects}" needs a schema with a name; use "topic"')
        return record if self.subjects == "record" else f"{topic}-{record}"

    def known(self, id: int) -> Schema | None:
        """The schema of an id, if it has been fetched. Never waits."""
        return self._schemas.get(id)

    def fetch(self, id: int) -> Schema | None:
        """The schema of an id; None when the registry does not know it. Waits for the network.

        Raises:
            SchemaRegistryError: there is no answer, or one that is no schema.
        """
        if id not in self._schemas:
            answer = self._ask("GET", f"/schemas/ids/{id}", f"schema {id}")
            if answer is None:
                return None
            self._schemas[id] = self._whole(answer)
        return self._schemas[id]

    def latest(self, subject: str) -> tuple[int, Schema]:
        """Id and schema that a subject has now. Waits for the network.

        Raises:
            SchemaRegistryError: there is no answer, or the subject has no schema.
        """
        answer = self._ask("GET", f"/subjects/{quote(subject, safe='')}/versions/latest", f"subject {subject!r}")
        if answer is None or answer.id is None:
            raise self._error(f"subject {subject!r} has no schema: register one first", retriable=False)
        self._schemas[answer.id] = schema = self._whole(answer)
        return answer.id, schema

    def register(self, subject: str, schema: Schema) -> int:
        """The id of a schema, which is added to the subject where it is new. Waits for the network.

        Raises:
            SchemaRegistryError: there is no answer, or the schema is refused: it is wrong, or not compatible with those
                that the subject has.
        """
        if (subject, schema) not in self._ids:
            answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", f"subject {subject!r}", schema)
            if answer is None or answer.id is None:
                raise self._error(f"subject {subject!r}: the schema cannot be registered", retriable=False)
            self._ids[subject, schema] = answer.id
        return self._ids[subject, schema]

    def lookup(self, subject: str, schema: Schema) -> int:
        """The id under which a subject has a schema. Waits for the network.

        Raises:
            SchemaRegistryError: there is no answer, or the subject has no such schema.
        """
        if (subject, schema) not in self._ids:
            answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}", f"subject {subject!r}", schema)
            if answer is None or answer.id is None:
                raise self._error(
                    f'subject {subject!r} does not have this schema: register it, or write with on_write="register" or '
                    f'"latest"; it is {schema.text[:500]}',
                    retriable=False,
                )
            self._ids[subject, schema] = answer.id
        return self._ids[subject, schema]

    def version(self, subject: str, schema: Schema) -> int:
        """The version of a schema that has been registered: what a reference names. Waits for the network.

        Raises:
            SchemaRegistryError: there is no answer, or the subject has no such schema.
        """
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}", f"subject {subject!r}", schema)
        if answer is None or answer.version is None:
            raise self._error(f"subject {subject!r} does not have the schema that it was given", retriable=False)
        return answer.version

    def _whole(self, answer: _Answer) -> Schema:
        """A schema with all that it imports."""
        references = tuple(answer.references or ())
        imports: dict[str, str] = {}
        self._collect(references, imports)
        return Schema(answer.kind or "AVRO", answer.schema, references, tuple(imports.items()))

    def _collect(self, references: Sequence[Reference], imports: dict[str, str]) -> None:
        for reference in references:
            if reference.name in imports:
                continue
            where = f"/subjects/{quote(reference.subject, safe='')}/versions/{reference.version}"
            what = f"subject {reference.subject!r} version {reference.version}"
            answer = self._ask("GET", where, what)
            if answer is None:
                raise self._error(f"{what} is not there, but another schema refers to it", retriable=False)
            self._collect(answer.references or (), imports)
            imports[reference.name] = answer.schema

    def _ask(self, method: str, path: str, what: str, schema: Schema | None = None) -> _Answer | None:
        """The answer; None when what was asked for is not there."""
        body = None
        if schema is not None:
            question: dict[str, Any] = {"schema": schema.text}
            if schema.kind != "AVRO":
                question["schemaType"] = schema.kind
            if schema.references:
                question["references"] = schema.references
            body = msgspec.json.encode(question)
        status, answer = self._send(method, path, body)
        if status == 200:
            try:
                return msgspec.json.decode(answer, type=_Answer)
            except msgspec.MsgspecError as error:
                raise self._error(
                    f"{what}: the answer is not that of a registry ({error}): check the url and its path",
                    retriable=False,
                ) from None
        try:
            refusal = msgspec.json.decode(answer, type=_Refusal)
        except msgspec.MsgspecError:
            refusal = _Refusal(answer[:200].decode(errors="replace").strip() or "it gives no reason")
        if status == 404 and refusal.error_code:  # without a code it is the path that is not there
            return None
        if status in (401, 403):
            remedy = "check the credentials" if self.username or self.token else "it wants credentials"
            raise self._error(f"{what}: access is denied ({status}): {remedy}", retriable=False)
        if status == 409:
            raise self._error(
                f"{what}: the schema is not compatible with those it has, and is refused: {refusal.message}",
                retriable=False,
            )
        if status == 422:
            raise self._error(f"{what}: the schema is refused as invalid: {refusal.message}", retriable=False)
        again = status >= 500 or status in _TRY_AGAIN
        raise self._error(f"{what}: it answers {status}: {refusal.message}", retriable=again)

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body from the first address that answers."""
        import http.client
        import ssl
        import urllib.error
        import urllib.request

        class Stay(urllib.request.HTTPRedirectHandler):
            """Follows nobody: credentials would go with it."""

            def redirect_request(self, *args: Any) -> None:
                return None

        handlers: list[urllib.request.BaseHandler] = [Stay()]
        if any(url.startswith("https") for url in self.urls):
            try:
                handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca)))
            except OSError as error:
                raise self._error(
                    f"ca={self.ca!r} cannot be used: {error.strerror or error}", retriable=False
                ) from None
        opener = urllib.request.build_opener(*handlers)
        headers = {
            "Accept": f"{_CONTENT_TYPE}, application/json",
            "Content-Type": _CONTENT_TYPE,
            **self._authorization(),
        }
        reasons = []
        for url in self.urls:
            request = urllib.request.Request(url + path, data=body, headers=headers, method=method)
            try:
                with opener.open(request, timeout=duration_ms(self.timeout) / 1000) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                reasons.append(str(getattr(reason, "strerror", None) or reason) or type(error).__name__)
        raise self._error(f"it cannot be reached ({'; '.join(reasons)}): check the url and that it runs")

    def _authorization(self) -> dict[str, str]:
        if self.token is not None:
            return {"Authorization": f"Bearer {Secret(self.token).reveal()}"}
        if self.username is None or self.password is None:
            return {}
        username = self.username
        if username.startswith(("env:", "file:")):
            username = Secret(username).reveal()
        pair = f"{username}:{Secret(self.password).reveal()}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    def _error(self, message: str, *, retriable: bool = True) -> SchemaRegistryError:
        return SchemaRegistryError(f"schema registry {self.url}: {message}", retriable=retriable)
