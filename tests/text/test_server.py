from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from seqlore.errors import ConfigError
from seqlore.text.server import OFFICIAL, Server

openai = pytest.importorskip("openai", reason="the openai client is not installed")
KEY = "sk-secret-1234"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SEQLORE_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def heard() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of a server that lists no models, and the headers of every request."""
    headers: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append({name.lower(): value for name, value in self.headers.items()})
            body = json.dumps({"object": "list", "data": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as it:
        thread = threading.Thread(target=it.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{it.server_address[1]}/v1", headers
        it.shutdown()
        thread.join()


def test_what_was_meant_for_openai_stays_at_home(
    heard: tuple[str, list[dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, headers = heard
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Team-Key: {KEY}\nauthorization: Bearer {KEY}")
    monkeypatch.setenv("SEQLORE_API_KEY", "for-others-only")
    Server("x", url).client("it", retries=0, timeout=5).models.list()
    assert headers[0]["authorization"] == "Bearer for-others-only"
    assert not {"openai-organization", "openai-project", "x-team-key"} & set(headers[0])
    assert KEY not in str(headers)

    monkeypatch.setenv("OPENAI_BASE_URL", url)  # the user's own word that it may go there
    Server("x").client("it", retries=0, timeout=5).models.list()
    assert (headers[1]["openai-organization"], headers[1]["x-team-key"]) == ("org-1", KEY)


def test_a_key_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(ConfigError, match="SEQLORE_API_KEY holds characters") as caught:
        Server("x", "http://host/v1", "sk-secret–1234")
    assert "secret" not in str(caught.value)
    assert Server("x", "http://host/v1", f" {KEY}\n").clean(f"<{KEY}>") == "<…>"


def test_the_key_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = Server("x")
    assert (server.base_url, server.official, server.variable) == (OFFICIAL, True, "OPENAI_API_KEY")
    assert KEY not in f"{server!r} {server}"


def test_cleaning() -> None:
    assert Server("x", "http://host/v1").clean("nothing to hide") == "nothing to hide"
    server = Server("x", "http://host/v1", "rose")
    assert server.clean("a rose soap", shortest=12) == "a rose soap"
    assert server.clean("a rose soap") == "a … soap"
