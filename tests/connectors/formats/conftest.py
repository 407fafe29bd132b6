"""A real schema registry, and a scripted one for what a real one does not do when asked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from tidegate.engine.testing.schema_registry import LocalSchemaRegistry


@pytest.fixture(scope="session")
def registry_url() -> Iterator[str]:
    """A real registry: that of TIDEGATE_SCHEMA_REGISTRY, or one of the testing kit. Use subjects of your own."""
    if named := os.environ.get("TIDEGATE_SCHEMA_REGISTRY"):
        yield named
    elif missing := [program for program in ("java", "mvn") if shutil.which(program) is None]:
        pytest.skip(f"no schema registry: TIDEGATE_SCHEMA_REGISTRY is not set, no {' and no '.join(missing)}")
    else:
        with LocalSchemaRegistry() as registry:
            yield registry.url


class ScriptedRegistry:
    """An HTTP server that gives the answers it was told, whatever stands for the question, and keeps what it was asked.

    `answers["GET /schemas/ids/7"] = 200, {...}`; what is not in there is not found, in the way of a registry.
    """

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        script = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                question = f"{self.command} {self.path}"
                script.asked.append(question)
                script.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = script.answers.get(question, (404, {"error_code": 40403, "message": "not found"}))
                text = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"{script.url}/elsewhere")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = answer

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Answers no more; its port refuses connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def scripted() -> Iterator[ScriptedRegistry]:
    """A registry that answers as it is told."""
    registry = ScriptedRegistry()
    try:
        yield registry
    finally:
        registry.close()
