"""The API as a client meets it: what comes back, and what is refused with the field named."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient

import seqlore as sl
from seqlore.data import Dataset, Split, leave_one_out
from seqlore.models import MostPopular  # type: ignore[attr-defined]
from seqlore.serve.app import create_app
from seqlore.serve.settings import ServeSettings

BRND, PRICE = {"attributes": {"brnd": ["x"]}}, {"attributes": {"price": ["x"]}}
ALL = ["SASRec", "ItemKNN", "MostPopular", "frozen", "two-stage"]


def post(http: TestClient, verb: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = http.post(f"/v1/{verb}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["item_id"] for row in rows]


def test_models_are_named_with_what_they_can_and_no_path(http: TestClient, run_folder: Path) -> None:
    answer = http.get("/v1/models")
    models = {m["name"]: m for m in answer.json()["models"]}
    assert set(models) == set(ALL)
    assert models["frozen"]["abilities"] == ["recommend", "similar", "rerank", "explain", "add_items"]
    assert "add_items" not in models["SASRec"]["abilities"]
    assert models["SASRec"]["attributes"] == ["brand", "categories", "description", "price"]
    assert str(run_folder.parent) not in answer.text


@pytest.mark.parametrize("name", ALL)
def test_the_service_recommends_what_the_model_does(
    http: TestClient, run_folder: Path, frozen: Path, two_stage: Path, split: Split, name: str
) -> None:
    folders = {"frozen": frozen, "two-stage": two_stage}
    model = sl.load(folders.get(name, run_folder / "models" / f"{name}--file--0"))
    histories = [split.catalog.ids[3:6], [], split.catalog.ids[8:9]]
    expected = model.recommend(histories, k=7)
    lists = post(http, "recommend", model=name, histories=histories, k=7)["lists"]
    assert [ids(row["items"]) for row in lists] == expected.items
    for row, scores in zip(lists, expected.scores, strict=True):
        np.testing.assert_allclose([i["score"] for i in row["items"]], scores[: len(row["items"])], rtol=1e-4)
    alone = post(http, "recommend", model=name, history=histories[0], k=7)["lists"][0]
    assert alone["items"][0]["title"] == expected.titles[0][0]
    assert not set(ids(alone["items"])) & set(histories[0])


def test_seen_items_come_back_when_asked(http: TestClient, split: Split) -> None:
    history = split.catalog.ids[:3]
    every = post(http, "recommend", model="SASRec", history=history, k=40, exclude_seen=False)["lists"][0]
    assert set(history) < set(ids(every["items"]))


def test_titles_and_unknown_ids(http: TestClient, split: Split) -> None:
    title = split.catalog.titles[4]
    lists = post(http, "recommend", history=[{"title": title}, "no-such-id"])["lists"]
    assert lists[0]["history"] == [{"item_id": split.catalog.ids[4], "title": title}]
    assert lists[0]["unknown"] == ["no-such-id"]


def test_filters(http: TestClient, split: Split) -> None:
    items = split.catalog.items
    brand = items["brand"][0]
    of_brand = set(items.filter(pl.col("brand") == brand)["item_id"])
    found = post(http, "recommend", history=[], k=40, filters={"attributes": {"brand": [brand]}})["lists"][0]
    assert set(ids(found["items"])) == of_brand
    some = sorted(of_brand)[0]
    without = {"attributes": {"brand": [brand]}, "exclude": [some, "no-such-id"]}
    assert set(ids(post(http, "recommend", history=[], k=40, filters=without)["lists"][0]["items"])) == of_brand - {
        some
    }
    only = {"items": [some, "no-such-id"]}
    assert ids(post(http, "recommend", history=[], filters=only)["lists"][0]["items"]) == [some]
    assert post(http, "recommend", history=[], filters={"attributes": {"brand": ["?"]}})["lists"][0]["items"] == []
    category = items["categories"][0][0]
    held = {i for i, c in zip(items["item_id"], items["categories"].to_list(), strict=True) if category in c}
    found = post(http, "recommend", history=[], k=40, filters={"attributes": {"categories": [category]}})["lists"][0]
    assert set(ids(found["items"])) == held
    price = items["price"][0]
    found = post(http, "recommend", history=[], k=40, filters={"attributes": {"price": [price]}})["lists"][0]
    assert split.catalog.ids[0] in ids(found["items"])


def test_attributes_of_any_type_are_shown_and_those_that_compare_are_filters(split: Split, tmp_path: Path) -> None:
    odd = split.catalog.items.with_columns(
        pl.Series("size", [[1.0, 2.0]] * 40, dtype=pl.Array(pl.Float64, 2)),
        pl.Series("nested", [[["a"], ["b"]]] * 40),
        pl.lit(b"\xff").alias("thumbnail"),
        pl.lit(timedelta(days=3)).alias("delivery"),
    )
    model = MostPopular().fit(leave_one_out(Dataset.from_frames(split.dataset.interactions, odd)))
    app = create_app([model.save(tmp_path / "m")], ServeSettings(hosts=("testserver",)))
    with TestClient(app, raise_server_exceptions=False) as http:
        filters = {"attributes": {"size": [2]}}
        assert len(post(http, "recommend", history=[], k=5, filters=filters)["lists"][0]["items"]) == 5
        filters = {"attributes": {"size": [3]}}
        assert post(http, "recommend", history=[], k=5, filters=filters)["lists"][0]["items"] == []
        for name in ("nested", "thumbnail", "delivery"):
            asked = {"history": [], "filters": {"attributes": {name: ["a"]}}}
            answer = http.post("/v1/recommend", json=asked)
            assert answer.status_code == 422, answer.text
            assert "to filter by" in answer.json()["detail"]
        told = http.get(f"/v1/items/{split.catalog.ids[0]}").json()["attributes"]
        shown = {"size": [1.0, 2.0], "nested": [["a"], ["b"]], "thumbnail": "_w==", "delivery": "P3D"}
        assert {name: told[name] for name in shown} == shown


def test_similar(http: TestClient, split: Split, run_folder: Path) -> None:
    item = split.catalog.ids[0]
    told = post(http, "similar", model="SASRec", item=item, k=3)
    assert told["by"] == "vectors"
    table = sl.load(run_folder / "models" / "SASRec--file--0").net.table().detach()  # type: ignore[attr-defined]
    cosine = np.asarray(table @ table[1] / (table.norm(dim=1) * table[1].norm()))
    best = [split.catalog.ids[i - 1] for i in np.argsort(-np.nan_to_num(cosine, nan=-9))[1:4]]
    assert ids(told["items"]) == best
    assert post(http, "similar", model="ItemKNN", item=item)["by"] == "list"
    few = split.catalog.ids[5:9]
    among = post(http, "similar", model="SASRec", item=item, filters={"items": [item, *few]})
    assert set(ids(among["items"])) == set(few)
    assert post(http, "similar", 404, item="no-such-id")["field"] == "item"


@pytest.mark.parametrize("name", ALL)
def test_rerank_gives_the_order_of_the_list(http: TestClient, split: Split, name: str) -> None:
    history, candidates = split.catalog.ids[:2], split.catalog.ids[10:16]
    told = post(http, "rerank", model=name, history=history, candidates=[*candidates, "no-such-id", candidates[0]])
    filtered = post(http, "recommend", model=name, history=history, filters={"items": candidates})["lists"][0]
    assert ids(told["items"]) == ids(filtered["items"])
    assert told["unknown"] == ["no-such-id"]


def test_explain(http: TestClient, split: Split) -> None:
    history, items = split.catalog.ids[:4], [*split.catalog.ids[:2], split.catalog.ids[20], "no-such-id"]
    told = post(http, "explain", model="SASRec", history=history, items=items, nearest=2)
    assert told["unknown"] == ["no-such-id"]
    first, second, third = told["items"]
    assert first["by"] == "vectors"
    assert first["nearest"][0] == {
        "item_id": history[0], "title": split.catalog.titles[0], "weight": pytest.approx(1.0, abs=1e-5),
    }  # fmt: skip
    assert len(first["nearest"]) == 2
    assert [first["knowledge"], second["knowledge"], third["knowledge"]] == [
        ["Good for nights."], ["<b>Good</b> for days."], [],
    ]  # fmt: skip
    by_leaving_out = post(http, "explain", model="ItemKNN", history=history, items=items[:1])
    assert by_leaving_out["items"][0]["by"] == "occlusion"
    assert post(http, "explain", model="SASRec", history=[], items=items[:1])["items"][0]["nearest"] == []


def test_items_are_searched_leafed_through_and_shown(http: TestClient, split: Split) -> None:
    assert (
        http.get("/v1/items", params={"q": split.catalog.titles[7]}).json()["items"][0]["item_id"]
        == split.catalog.ids[7]
    )
    leaf = http.get("/v1/items", params={"limit": 5, "offset": 38, "model": "SASRec"}).json()
    assert (leaf["total"], ids(leaf["items"])) == (40, split.catalog.ids[38:])
    item = http.get(f"/v1/items/{split.catalog.ids[1]}").json()
    assert item["title"] == split.catalog.titles[1]
    assert item["attributes"]["brand"] == split.catalog.items["brand"][1]
    assert item["knowledge"] == ["<b>Good</b> for days."]


def test_runs_and_their_figures(http: TestClient) -> None:
    (told,) = http.get("/v1/runs").json()["runs"]
    assert told["name"] == "shop"
    assert {row["served"] for row in told["rows"]} == {"SASRec", "ItemKNN", "MostPopular"}
    svg = http.get("/v1/runs/0/plots/0")
    assert svg.headers["content-type"] == "image/svg+xml"
    assert svg.text.startswith("<svg ")
    assert "--ink:" in svg.text
    assert http.get("/v1/runs/1/plots/0").status_code == 404


@pytest.mark.parametrize(
    ("verb", "body", "status", "field", "says"),
    [
        ("recommend", {"histroy": []}, 422, "histroy", "no field"),
        ("recommend", {}, 422, "history", "either"),
        ("recommend", {"history": [], "histories": []}, 422, "history", "either"),
        ("recommend", {"history": [3]}, 422, "history.0", 'an item is its id, or {"title":'),
        ("recommend", {"history": [{"title": ""}]}, 422, "history.0.title", "at least 1"),
        ("recommend", {"history": [{"title": "qqqqzz"}]}, 422, "history.0.title", "no title resembles 'qqqqzz'"),
        ("recommend", {"history": [], "k": 0}, 422, "k", "greater"),
        ("recommend", {"history": [], "k": 51}, 422, "k", "at most 50"),
        ("recommend", {"history": ["a"] * 1001}, 422, "history", "at most 1,000"),
        ("recommend", {"histories": [["a"]] * 257}, 422, "histories", "at most 256"),
        ("recommend", {"history": [], "users": ["a", "b"]}, 422, "users", "one each"),
        ("recommend", {"history": [], "model": "SASRek"}, 404, "model", "did you mean 'SASRec'"),
        ("recommend", {"history": [], "filters": BRND}, 422, "filters.attributes.brnd", "did you mean 'brand'"),
        ("recommend", {"history": [], "filters": PRICE}, 422, "filters.attributes.price", "number"),
        ("rerank", {"history": [], "candidates": []}, 422, "candidates", "at least 1"),
        ("explain", {"history": [], "items": ["a"], "model": "no"}, 404, "model", "there is no model"),
        ("items", {"items": [{"item_id": "x", "title": "y"}], "model": "SASRec"}, 422, "model", "cannot add_items"),
        ("items", {"items": [{"item_id": "x", "title": "y"}] * 2}, 422, "items", "twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(http: TestClient, verb: str, body: dict, status: int, field: str, says: str) -> None:
    told = post(http, verb, status, **body)
    assert told["field"] == field
    assert says in told["detail"]


def test_what_is_no_json(http: TestClient) -> None:
    answer = http.post("/v1/recommend", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["field"]) == (400, "body")


@pytest.mark.parametrize(
    "path", ["/v1/items/../../etc/passwd", "/page/../app.py", "/page/app.py", "/etc/passwd", "/docs"]
)
def test_nothing_of_the_file_system_is_reachable(http: TestClient, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert "root:" not in answer.text


def test_health_metrics_and_schema(http: TestClient) -> None:
    post(http, "recommend", history=[])
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready", "models": 5}
    told = http.get("/metrics").text
    assert 'seqlore_requests_total{route="/v1/recommend",status="200"}' in told
    assert 'seqlore_batch_histories_count{model="SASRec"}' in told
    assert 'seqlore_model_items{model="SASRec"} 40.0' in told
    schema = http.get("/openapi.json").json()
    assert set(schema["paths"]["/v1/recommend"]["post"]["responses"]) >= {"200", "401", "422", "429", "503"}
    assert "examples" in schema["paths"]["/v1/recommend"]["post"]["requestBody"]["content"]["application/json"]
