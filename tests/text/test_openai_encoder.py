from __future__ import annotations

import base64
import json
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqlore.errors import ConfigError, DataError, MissingExtraError, SeqloreError
from seqlore.text import VectorStore, open_encoder
from seqlore.text import openai as module
from seqlore.text.openai import OpenAIEncoder
from text.fakes import vector_of

openai = pytest.importorskip("openai", reason="the openai client is not installed")


class Server(ThreadingHTTPServer):
    """/v1/embeddings on a real socket. ``tricks`` says how the next requests go wrong; then all goes well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.tricks: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({**asked, "path": self.path})
        self.server.keys.append(self.headers["Authorization"])
        trick = self.server.tricks.pop(0) if self.server.tricks else "none"
        width = asked.get("dimensions", 8)

        def encoded(vector: np.ndarray) -> Any:
            vector = vector.astype(np.float32)
            as_base64 = asked.get("encoding_format") == "base64" and trick != "floats"
            return base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist()

        data = [
            {"object": "embedding", "index": i, "embedding": encoded(vector_of(text, width))}
            for i, text in enumerate(asked["input"])
        ]
        if trick == "shuffled":
            data.reverse()
        if trick == "one missing":
            data.pop()
        if trick == "one twice":
            data[-1] = {**data[0]}
        if trick == "uneven":
            data[-1]["embedding"] = encoded(vector_of("x", 3))
        status, body = 200, json.dumps({"object": "list", "model": asked["model"], "data": data, "usage": {}})
        if trick.isdecimal():
            status = int(trick)
            key = self.headers["Authorization"].removeprefix("Bearer ")
            body = json.dumps({"error": {"message": f"no good:\n{key}", "type": "some"}})
        if trick == "no json":
            body = "<html>a proxy's error page</html>"
        if trick == "other json":
            body = '{"answer": 42}'
        content = body.encode()
        if trick == "half json":
            content = content[: len(content) // 2]
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Retry-After", "0.01")
        self.end_headers()
        if trick == "cut":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SEQLORE_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
        monkeypatch.setattr(f"openai._base_client.{name}", 0.01, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    thread = threading.Thread(target=it.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield it
    it.shutdown()
    it.server_close()
    thread.join()


def expected(texts: list[str], width: int = 8) -> np.ndarray:
    return np.array([vector_of(t, width) for t in texts], np.float32)


@pytest.mark.parametrize("trick", ["none", "floats", "shuffled", "429", "500", "503", "408", "cut"])
def test_right_vectors_in_order_however_the_server_behaves(server: Server, trick: str) -> None:
    server.tricks = [trick]
    texts = ["red", "口紅", "blue"]
    vectors = OpenAIEncoder("small", base_url=server.url).encode(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected(texts))


def test_several_failures_in_a_row(server: Server) -> None:
    server.tricks = ["429", "500", "cut", "429"]
    np.testing.assert_array_equal(OpenAIEncoder("small", base_url=server.url)._ask(["red"]), expected(["red"]))
    assert len(server.requests) == 5


def test_what_is_asked(server: Server) -> None:
    OpenAIEncoder("small", base_url=server.url, dimensions=4)._ask(["red"])
    (request,) = server.requests
    assert (request["path"], request["model"], request["input"]) == ("/v1/embeddings", "small", ["red"])
    assert request["dimensions"] == 4
    OpenAIEncoder("small", base_url=server.url + "/")._ask(["red"])
    assert "dimensions" not in server.requests[1]
    assert server.requests[1]["path"] == "/v1/embeddings"


def test_requests_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TEXTS", 3)
    monkeypatch.setattr(module, "CHARACTERS", 10)
    texts = ["a", "b", "c", "d", "e" * 50, "f", "g" * 9, "h"]
    vectors = OpenAIEncoder("small", base_url=server.url, dimensions=8).encode(texts)
    np.testing.assert_array_equal(vectors, expected(texts))
    # By hand: at most three texts and ten characters, but for a single text that is longer.
    assert [r["input"] for r in server.requests] == [["a", "b", "c"], ["d"], ["e" * 50], ["f", "g" * 9], ["h"]]


def test_dimension(server: Server) -> None:
    encoder = OpenAIEncoder("small", base_url=server.url)
    assert (encoder.dimension, encoder.dimension) == (8, 8)
    assert len(server.requests) == 1
    assert OpenAIEncoder("small", base_url=server.url, dimensions=4).dimension == 4
    assert len(server.requests) == 1


@pytest.mark.parametrize("trick", ["no json", "half json", "other json", "one missing", "one twice", "uneven"])
def test_an_answer_that_is_not_one_vector_a_text_is_refused(server: Server, trick: str) -> None:
    server.tricks = [trick]
    with pytest.raises(DataError, match=rf"^encoder openai:small at {server.url}: [^\n]+$"):
        OpenAIEncoder("small", base_url=server.url)._ask(["red", "blue"])


@pytest.mark.parametrize("trick", ["429", "500", "cut"])
def test_giving_up_keeps_what_was_stored(server: Server, trick: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "TEXTS", 2)
    server.tricks = ["none", "none", *[trick] * 3]
    encoder = OpenAIEncoder("small", base_url=server.url, retries=2)
    store, texts = VectorStore(tmp_path), [f"text {i}" for i in range(8)]
    with pytest.raises(SeqloreError, match=r"still failing after 2 retries .*run it again$"):
        store.fetch(texts, encoder)
    assert len(server.requests) == 5
    found = store.fetch(texts, encoder)
    assert (found.hits, found.misses) == (4, 4)
    np.testing.assert_array_equal(found.vectors, expected(texts))


def test_a_server_that_is_not_there(server: Server) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(SeqloreError, match="still failing after 1 retries"):
        OpenAIEncoder("small", base_url=url, retries=1)._ask(["red"])


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("401", "refuses the key; set SEQLORE_API_KEY"),
        ("403", "refuses the key; set SEQLORE_API_KEY"),
        ("404", "knows no such model or path"),
        ("400", r"refuses the request \(400\): .*no good: …"),
    ],
)
def test_refusals_are_not_tried_again_and_never_show_the_key(
    server: Server, status: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.tricks = [status]
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError, match=message) as caught:
        OpenAIEncoder("small", base_url=server.url, api_key="sk-secret-1234")._ask(["red"])
    assert len(server.requests) == 1
    assert "sk-secret-1234" not in f"{caught.value}{caught.value.__cause__}{caplog.text}"
    assert server.keys == ["Bearer sk-secret-1234"]


def test_the_key_stays_out_of_identity_store_and_repr(server: Server, tmp_path: Path) -> None:
    encoder = OpenAIEncoder("small", base_url=server.url, api_key="sk-secret-1234")
    VectorStore(tmp_path).fetch(["red"], encoder)
    assert "secret" not in encoder.identity + repr(encoder)
    assert all(b"secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_openais_key_goes_to_openai_only(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for-openai")
    OpenAIEncoder("small", base_url=server.url)._ask(["red"])
    assert server.keys.pop() == "Bearer none"
    monkeypatch.setenv("SEQLORE_API_KEY", "for-others")
    OpenAIEncoder("small", base_url=server.url)._ask(["red"])
    assert server.keys.pop() == "Bearer for-others"
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)  # the user's own word that the key may go there
    OpenAIEncoder("small")._ask(["red"])
    assert server.keys.pop() == "Bearer for-openai"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai:small", "set the environment variable OPENAI_API_KEY"),
        ("openai:", "names no model"),
        ("openai:small@localhost:8000", "must begin with http:// or https://"),
        ("openai:small@http://localhost:abc/v1", "address is none; write http://HOST:PORT/v1"),
        ("openai:small@http://localhost:99999/v1", "address is none; write http://HOST:PORT/v1"),
        ("openai:small@http://me:sk-1/v1", "address is none; write http://HOST:PORT/v1"),
        ("openai:small@http://[::1/v1", "address is none; write http://HOST:PORT/v1"),
        ("openai:small@https://me:sk-1@host/v1", "no key in the server's address"),
        ("openai:small@https://host/v1?key=sk-1", "no key in the server's address"),
    ],
)
def test_settings_that_cannot_work(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_encoder(name)
    assert "sk-1" not in str(caught.value)


def test_names(server: Server) -> None:
    encoder = open_encoder(f"openai:org/small@{server.url}", dimensions=4)
    assert isinstance(encoder, OpenAIEncoder)
    assert encoder.identity == f"openai:org/small@{server.url} [:4]"
    np.testing.assert_array_equal(encoder.encode(["red"]), expected(["red"], 4))


def test_without_the_client_the_extra_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqlore\[llm\]'"):
        OpenAIEncoder("small", base_url=server.url).encode(["red"])
