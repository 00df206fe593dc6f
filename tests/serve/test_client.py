"""The clients against the app itself: types, errors, and when a call is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from seqlore.client import AsyncClient, ByTitle, Client, Filters, NewItem, ServiceError
from seqlore.client import client as module
from seqlore.data import Split
from seqlore.models import MostPopular  # type: ignore[attr-defined]
from seqlore.serve.app import create_app
from seqlore.serve.settings import ServeSettings


@pytest.fixture
def client(http: TestClient) -> Iterator[Client]:
    def answer(request: httpx.Request) -> httpx.Response:
        told = http.request(request.method, str(request.url), content=request.read(), headers=dict(request.headers))
        return httpx.Response(told.status_code, content=told.content)

    with Client("http://testserver", transport=httpx.MockTransport(answer)) as client:
        yield client


def test_every_call_has_its_type(client: Client, split: Split) -> None:
    ids, titles = split.catalog.ids, split.catalog.titles
    lists = client.recommend([[ids[0], ByTitle(title=titles[1])], []], k=3, model="SASRec").lists
    assert [len(each.items) for each in lists] == [3, 3]
    assert [item.item_id for item in lists[0].history] == ids[:2]
    assert client.recommend([[]], filters=Filters(items=ids[:1])).lists[0].items[0].title == titles[0]
    assert client.similar(ids[0], k=2, model="SASRec").by == "vectors"
    assert len(client.rerank(ids[:1], ids[4:7]).items) == 3
    assert client.explain(ids[:2], ids[4:5], model="SASRec", nearest=1).items[0].nearest[0].item_id in ids[:2]
    assert client.items("", limit=2, offset=1).items[0].item_id == ids[1]
    assert client.item(ids[3]).title == titles[3]
    assert {m.name for m in client.models().models} >= {"SASRec", "frozen"}
    assert client.reload("MostPopular").model.items == 40
    assert client.runs().runs[0].name == "shop"


def test_errors_carry_field_and_status(client: Client) -> None:
    with pytest.raises(ServiceError, match="at most 50") as refused:
        client.recommend([[]], k=99)
    assert (refused.value.status, refused.value.field) == (422, "k")
    with pytest.raises(ServiceError, match="cannot add_items") as refused:
        client.add_items([NewItem(item_id="a", title="b")], model="SASRec")
    assert refused.value.field == "model"
    with pytest.raises(ServiceError, match="k: Input should be greater than") as refused:
        client.recommend([["a"]], k=0)
    assert (refused.value.status, refused.value.field) == (None, "k"), "not asked"
    with pytest.raises(ServiceError, match="there is no field modle"):
        client.recommend([["a"]], modle="SASRec")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="wrap a single one"):
        client.recommend(["a", "b"])  # type: ignore[list-item]


def test_the_asynchronous_client_says_the_same(app: FastAPI, client: Client, split: Split) -> None:
    history = [split.catalog.ids[:3]]

    async def main() -> None:
        async with AsyncClient("http://testserver", transport=httpx.ASGITransport(app)) as other:
            assert await other.recommend(history, k=4) == client.recommend(history, k=4)
            assert await other.similar(history[0][0]) == client.similar(history[0][0])
            assert await other.rerank(history[0], split.catalog.ids[5:8]) == client.rerank(
                history[0], split.catalog.ids[5:8]
            )
            assert await other.explain(history[0], split.catalog.ids[5:6]) == client.explain(
                history[0], split.catalog.ids[5:6]
            )
            assert await other.items("a") == client.items("a")
            assert await other.item(history[0][0]) == client.item(history[0][0])
            assert await other.models() == client.models()
            assert await other.runs() == client.runs()
            assert (await other.reload("ItemKNN")).model.name == "ItemKNN"
            with pytest.raises(ServiceError, match="cannot add_items"):
                await other.add_items([NewItem(item_id="a", title="b")], model="SASRec")

    asyncio.run(main())


class Flaky:
    """Answers what it is told to, in turn; an exception is raised."""

    def __init__(self, *turns: int | Exception) -> None:
        self.turns, self.asked = list(turns), 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        turn = self.turns[self.asked]
        self.asked += 1
        if isinstance(turn, Exception):
            raise turn
        body = {"models": [], "detail": "busy", "field": None}
        return httpx.Response(turn, json=body)


BUSY, DOWN, BROKEN = 503, httpx.ConnectError("refused"), httpx.ReadError("broken")


@pytest.mark.parametrize(
    ("turns", "asked"), [((BUSY, 429, 200), 3), ((DOWN, 200), 2), ((BROKEN, 200), 2), ((422,), 1), ((BUSY,) * 4, 4)]
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_what_is_busy_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, turns: tuple[Any, ...], asked: int, kind: str
) -> None:
    pauses: list[float] = []
    service = Flaky(*turns)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(module.time, "sleep", pauses.append)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)

    def call() -> None:
        if kind == "sync":
            Client(transport=httpx.MockTransport(service)).models()
        else:
            asyncio.run(AsyncClient(transport=httpx.MockTransport(service)).models())

    if turns[-1] == 200:
        call()
    else:
        with pytest.raises(ServiceError, match="busy"):
            call()
    assert service.asked == asked
    assert pauses == [0.1 * 2**i for i in range(asked - 1)]


def test_a_change_is_not_sent_twice_where_it_may_have_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    broken = Flaky(BROKEN, 200)
    with pytest.raises(ServiceError, match="cannot be reached"):
        Client(transport=httpx.MockTransport(broken)).reload("m")
    assert broken.asked == 1
    slow = Flaky(BUSY, 200)
    with pytest.raises(ServiceError, match="busy"):
        Client(transport=httpx.MockTransport(slow)).add_items([NewItem(item_id="a", title="b")])
    assert slow.asked == 1, "a service that did not answer in time may make the change all the same"
    many = Flaky(429, 422)
    with pytest.raises(ServiceError):
        Client(transport=httpx.MockTransport(many)).reload("m")
    assert many.asked == 2, "who is told to wait has changed nothing"
    down = Flaky(DOWN, DOWN, DOWN, DOWN)
    with pytest.raises(ServiceError, match="cannot be reached"):
        Client(transport=httpx.MockTransport(down)).reload("m")
    assert down.asked == 4, "nobody was there, so nothing can have happened"


def test_a_change_may_take_its_time() -> None:
    given: dict[str, float | None] = {}

    def note(request: httpx.Request) -> httpx.Response:
        given[request.url.path] = request.extensions["timeout"]["read"]
        return httpx.Response(200, json={"models": []})

    client = Client(transport=httpx.MockTransport(note), timeout=3)
    client.models()
    client.add_items([NewItem(item_id="a", title="b")])
    assert given == {"/v1/models": 3, "/v1/items": 310}
    endless = Client(transport=httpx.MockTransport(note), timeout=None)
    endless.models()
    endless.add_items([NewItem(item_id="a", title="b")])
    assert given == {"/v1/models": None, "/v1/items": None}


def test_a_stranger_at_the_address_is_told() -> None:
    stranger = httpx.MockTransport(lambda request: httpx.Response(200, text="<html>hello"))
    with pytest.raises(ServiceError, match="not as a Seqlore service does"):
        Client(transport=stranger).models()
    crowded = httpx.MockTransport(lambda request: httpx.Response(503, text="Service Unavailable"))
    with pytest.raises(ServiceError, match=r"is busy \(503\)"):
        Client(transport=crowded, retries=0).models()


def test_a_service_that_takes_too_long_is_there() -> None:
    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out")

    with pytest.raises(ServiceError, match="did not answer in time; give the client a longer timeout"):
        Client(transport=httpx.MockTransport(slow), retries=0).models()


@pytest.mark.parametrize(
    ("ask", "field", "says"),
    [
        (lambda c: c.recommend([["a"]], filters={"attributes": {"by-id": "x"}}), "filters.attributes.by-id", "list"),
        (
            lambda c: c.recommend([["a"]], filters={"attributes": {"brand": [["x"]]}}),
            "filters.attributes.brand.0",
            "text",
        ),
        (lambda c: c.recommend([[""]]), "histories.0.0", "at least 1"),
        (lambda c: c.similar({"title": ""}), "item.title", "at least 1"),
        (lambda c: c.rerank("abc", ["a"]), "history", "list"),
        (lambda c: c.explain(["a"], "abc"), "items", "list"),
        (lambda c: c.recommend([["a"]], kind="x"), "kind", "there is no field kind"),
        (lambda c: c.add_items([{"item_id": "a", "title": "b", "tags": [1]}]), "items.0.tags", "a list of texts"),
    ],
)
def test_what_the_service_would_refuse_is_told_with_its_field(ask: Any, field: str, says: str) -> None:
    unasked = httpx.MockTransport(lambda request: pytest.fail("nothing is sent"))
    with pytest.raises(ServiceError) as told:
        ask(Client(transport=unasked))
    assert (told.value.field, told.value.status) == (field, None)
    assert says in told.value.detail


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLORE_TOKEN", "abc")
    given: list[str | None] = []

    def note(request: httpx.Request) -> httpx.Response:
        given.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"models": []})

    Client(transport=httpx.MockTransport(note)).models()
    Client(transport=httpx.MockTransport(note), token="own").models()
    assert given == ["Bearer abc", "Bearer own"]


def test_a_token_of_any_letters_opens_and_one_that_is_no_line_is_not_shown(split: Split, tmp_path: Path) -> None:
    folder = MostPopular().fit(split).save(tmp_path / "m")
    app = create_app([folder], ServeSettings(hosts=("127.0.0.1",), token="tökén ключ"))
    inside = httpx.ASGITransport(app)

    async def main() -> None:
        async with AsyncClient(token="tökén ключ\n", transport=inside) as client:
            assert (await client.models()).models[0].name == "m"
        async with AsyncClient(token="token", transport=inside) as client:
            with pytest.raises(ServiceError, match="give the service's token"):
                await client.models()

    asyncio.run(main())
    with pytest.raises(ServiceError, match="no header can carry") as told:
        Client(token="sec\nret")
    assert "sec" not in str(told.value)
