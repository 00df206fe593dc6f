"""Who may ask, how much, how many at once, how long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from seqlore.serve.app import create_app
from seqlore.serve.metrics import Metrics
from seqlore.serve.settings import ServeSettings
from seqlore.serve.shield import Shield

ASK = {"history": []}


@pytest.fixture(scope="module")
def folder(run_folder: Path) -> Path:
    return run_folder / "models" / "MostPopular--file--0"


def client(folder: Path, **settings: Any) -> TestClient:
    return TestClient(create_app([folder], ServeSettings(**{"hosts": ("testserver",), **settings})))


def test_a_token_is_asked_for_where_there_is_data(folder: Path) -> None:
    http = client(folder, token="s3cret")
    for path in ("/", "/page/page.js", "/healthz", "/readyz", "/openapi.json"):
        assert http.get(path).status_code == 200, path
    for path in ("/v1/models", "/v1/items", "/v1/runs", "/metrics"):
        answer = http.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
    for given in ("Bearer wrong", "s3cret", "Basic s3cret", "Bearer s3cret2", "Bearer \xff"):
        assert http.get("/v1/models", headers={"authorization": given.encode("latin-1")}).status_code == 401, given
    assert http.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
    assert "s3cret" not in repr(ServeSettings(token="s3cret"))


def test_other_host_names_and_pages_from_elsewhere_are_turned_away(folder: Path) -> None:
    http = client(folder, hosts=("testserver", "[::1]"))
    assert http.get("/v1/models", headers={"host": "evil.example"}).status_code == 421
    assert http.get("/v1/models", headers={"host": "[::1]:8000"}).status_code == 200
    assert http.get("/v1/models", headers={"host": "testserver:8000"}).status_code == 200
    assert http.post("/v1/recommend", json=ASK, headers={"origin": "http://evil.example"}).status_code == 403
    assert http.post("/v1/recommend", json=ASK, headers={"origin": "http://testserver"}).status_code == 200
    assert client(folder, hosts=("*",)).get("/v1/models", headers={"host": "x"}).status_code == 200


def test_a_body_has_a_limit_with_and_without_a_told_length(folder: Path) -> None:
    http = client(folder, max_body=2000)
    long = b'{"history": ["' + b"x" * 3000 + b'"]}'
    for content in (long, iter([long[:1500], long[1500:]])):
        answer = http.post("/v1/recommend", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert answer.json() == {"detail": "a request's body may have 2,000 bytes", "field": "body"}


def test_writing_can_be_switched_off(folder: Path) -> None:
    http = client(folder, writes=False)
    assert http.post("/v1/models/MostPopular--file--0/reload").status_code == 403
    assert http.post("/v1/items", json={"items": [{"item_id": "x", "title": "y"}]}).status_code == 403
    on = client(folder)
    assert on.post("/v1/models/MostPopular--file--0/reload").json()["model"]["name"] == "MostPopular--file--0"
    assert on.post("/v1/models/no/reload").status_code == 404


def test_every_answer_forbids_what_a_page_does_not_need(folder: Path) -> None:
    http = client(folder)
    for path in ("/", "/v1/models", "/nothing"):
        headers = http.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def shielded(app: Any, **settings: Any) -> httpx.AsyncClient:
    shield = Shield(app, ServeSettings(hosts=("t",), **settings), Metrics())
    return httpx.AsyncClient(transport=httpx.ASGITransport(shield), base_url="http://t")


async def fine(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def test_too_many_at_once_are_told_so_and_health_is_not() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] != "/healthz":
                await gate.wait()
            await fine(send)

        async with shielded(app, concurrency=3) as http:
            waiting = [asyncio.create_task(http.get("/v1/models")) for _ in range(3)]
            await asyncio.sleep(0.01)
            turned_away = await http.get("/v1/models")
            assert turned_away.status_code == 429
            assert turned_away.headers["retry-after"] == "1"
            assert (await http.get("/healthz")).status_code == 200
            gate.set()
            assert [a.status_code for a in await asyncio.gather(*waiting)] == [200] * 3
            assert (await http.get("/v1/models")).status_code == 200, "it recovers"

    asyncio.run(main())


def test_who_waits_too_long_is_told_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        async with shielded(app, timeout=0.02) as http:
            answer = await http.get("/v1/models")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

    asyncio.run(main())


def test_changes_have_more_time_than_questions() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        await fine(send)

    async def main() -> None:
        async with shielded(app, timeout=0.01) as http:
            assert (await http.get("/v1/items")).status_code == 503
            assert (await http.post("/v1/recommend")).status_code == 503
            assert (await http.post("/v1/items")).status_code == 200
            assert (await http.post("/v1/models/m/reload")).status_code == 200
        async with shielded(app, change_timeout=0.01) as http:
            assert "within 0.01 s" in (await http.post("/v1/items")).json()["detail"]

    asyncio.run(main())


def test_a_failure_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("/etc/secret")

    async def main() -> None:
        async with shielded(app) as http:
            answer = await http.get("/v1/models")
            assert answer.status_code == 500
            assert "secret" not in answer.text
        assert "/etc/secret" in caplog.text

    asyncio.run(main())
