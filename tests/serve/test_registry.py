"""Models found, refused, swapped without a dropped request, and given new items."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

import seqlore as sl
from seqlore.client import wire
from seqlore.data import Dataset, Split, leave_one_out
from seqlore.errors import DataError
from seqlore.models import MostPopular, SASRec  # type: ignore[attr-defined]
from seqlore.recommender import REGISTRY, model_class
from seqlore.serve.arrivals import takes_new_items, with_new_items
from seqlore.serve.folders import Source, find_models, open_model
from seqlore.serve.knowledge import Knowledge
from seqlore.serve.metrics import Metrics
from seqlore.serve.refused import Refused
from seqlore.serve.registry import Registry
from seqlore.serve.service import Service
from seqlore.serve.settings import ServeSettings
from telling import Telling


def made(*folders: Path, settings: ServeSettings | None = None) -> Service:
    settings = settings or ServeSettings()
    registry = Registry(settings, Metrics())
    registry.open(find_models(folders)[0])
    return Service(registry, Knowledge(), settings)


def test_a_run_folder_gives_its_winner_first(run_folder: Path) -> None:
    sources, runs = find_models([run_folder])
    winner = json.loads((run_folder / "model.json").read_text())["folder"]
    assert sources[0].folder == run_folder / winner
    assert {s.name for s in sources} == {"SASRec", "ItemKNN", "MostPopular"}
    assert [r.path for r in runs] == [run_folder]


def test_names_are_told_apart(frozen: Path) -> None:
    assert [s.name for s in find_models([frozen, frozen])[0]] == ["frozen", "frozen-2"]


def _truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])


def _alter_items(folder: Path) -> None:
    items = pl.read_parquet(folder / "items.parquet")
    items.with_columns(title=pl.lit("other")).write_parquet(folder / "items.parquet")


def _edit(folder: Path, change: Callable[[dict], None]) -> None:
    head = json.loads((folder / "config.json").read_text())
    change(head)
    (folder / "config.json").write_text(json.dumps(head, indent=2))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_truncate, "digest differs"),
        (_alter_items, "digest differs"),
        (lambda f: (f / "items.parquet").unlink(), "missing"),
        (lambda f: (f / "model.safetensors").unlink(), "missing"),
        (lambda f: _edit(f, lambda h: h["config"].update(dropout=0.1)), "config.json: missing or not what was saved"),
        (lambda f: _edit(f, lambda h: h.update(format=99)), "newer Seqlore"),
        (lambda f: _edit(f, lambda h: h.update(files={})), "digest differs"),
        (lambda f: (f / "config.json").write_text((f / "config.json").read_text()[:40]), "damaged"),
        (lambda f: (f / "config.json").write_text("[]"), "damaged"),
        (lambda f: (f / "config.json").unlink(), "neither a model folder nor a run folder"),
    ],
)
def test_what_is_not_as_it_was_saved_is_refused_in_one_sentence(
    frozen: Path, tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    folder = Path(shutil.copytree(frozen, tmp_path / "m"))
    spoil(folder)
    with pytest.raises(DataError, match=says) as refused:
        made(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_older_folder_without_its_own_digest_is_read(frozen: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(frozen, tmp_path / "m"))
    _edit(folder, lambda h: h.pop("digest"))
    assert open_model(folder)[0].name == "SASRec"


def test_a_model_is_swapped_under_load_and_no_request_is_dropped(split: Split, tmp_path: Path) -> None:
    net = {"embedding_size": 8, "max_length": 6, "layers": 1, "heads": 1, "epochs": 1}
    folder = SASRec(**net).fit(split).save(tmp_path / "m")
    service = made(folder)
    history = split.catalog.ids[:3]
    old = sl.load(folder).recommend([history], k=5).items[0]
    new_model = SASRec(**net, seed=7).fit(split)
    new = new_model.recommend([history], k=5).items[0]
    assert old != new
    answers: list[tuple[str, ...]] = []

    async def ask() -> None:
        while len(answers) < 400:
            told = await service.recommend(wire.RecommendRequest(history=history, k=5))
            answers.append(tuple(i.item_id for i in told.lists[0].items))

    async def main() -> None:
        askers = [asyncio.create_task(ask()) for _ in range(8)]
        while len(answers) < 100:
            await asyncio.sleep(0.001)
        new_model.save(folder)
        await service.registry.reload("m")
        swapped = len(answers)
        await asyncio.gather(*askers)
        assert set(answers) == {tuple(old), tuple(new)}, "each answer is wholly of one of the two"
        assert set(answers[swapped + 8 :]) == {tuple(new)}

    asyncio.run(main())


def test_a_damaged_folder_does_not_disturb_the_model_that_is_served(split: Split, tmp_path: Path) -> None:
    folder = MostPopular().fit(split).save(tmp_path / "m")
    service = made(folder)
    _truncate(folder)

    async def main() -> None:
        with pytest.raises(Refused, match="digest differs") as refused:
            await service.registry.reload("m")
        assert refused.value.status == 409
        assert str(tmp_path) not in refused.value.detail, "an answer tells no path"
        assert (await service.recommend(wire.RecommendRequest(history=[]))).lists[0].items

    asyncio.run(main())


NEW = [{"item_id": "new-1", "title": "lavender night cream"}, {"item_id": "new-2", "title": "steel garden spade"}]


def test_new_items_are_where_their_text_puts_them(frozen: Path, split: Split) -> None:
    model = sl.load(frozen)
    twin = {"item_id": "twin", "title": split.catalog.titles[4], "made": "up"}
    longer = with_new_items(model, pl.DataFrame([*NEW, twin]))
    assert len(longer.catalog) == len(model.catalog) + 3
    assert longer.catalog.ids[: len(model.catalog)] == model.catalog.ids, "learned indices stay"
    table = longer.net.table().detach()  # type: ignore[attr-defined]
    assert (table[-1] - table[5]).abs().max() < 1e-5, "an item with the same text stands at the same place"
    history = [split.catalog.ids[:3]]
    before = model.recommend(history, k=40, exclude_seen=False)
    after = longer.recommend(history, k=43, exclude_seen=False)  # type: ignore[attr-defined]
    assert [i for i in after.items[0] if i in model.catalog] == before.items[0], "what was there keeps its order"
    assert {"new-1", "new-2", "twin"} < set(after.items[0])


def test_new_items_are_recommended_in_the_next_request_and_survive_a_reload(frozen: Path, split: Split) -> None:
    service = made(frozen)
    asked = wire.RecommendRequest(history=["new-1", split.catalog.ids[0]], k=50, filters=wire.Filters(items=["new-2"]))

    async def main() -> None:
        before = (await service.recommend(asked)).lists[0]
        assert before.unknown == ["new-1"]
        assert before.items == []
        told = await service.add_items(wire.AddItemsRequest(items=[wire.NewItem(**item) for item in NEW]))
        assert told.models == ["frozen"]
        after = (await service.recommend(asked)).lists[0]
        assert after.unknown == []
        assert [i.item_id for i in after.items] == ["new-2"]
        assert service.item(None, "new-1").added
        found = await service.items(None, "garden spade", 5, 0)
        assert found.items[0].item_id == "new-2"
        again = wire.AddItemsRequest(items=[wire.NewItem(**item) for item in (NEW[1], {**NEW[0], "brand": None})])
        assert (await service.add_items(again)).models == ["frozen"], "as one asks who got no answer in time"
        assert service.models().models[0].added == 2
        with pytest.raises(Refused, match="'new-1' is in the catalogue already"):
            await service.registry.add("frozen", pl.DataFrame([{**NEW[0], "title": "another"}]))
        await service.registry.reload("frozen")
        assert [i.item_id for i in (await service.recommend(asked)).lists[0].items] == ["new-2"]

    asyncio.run(main())


def test_new_items_have_a_limit_and_need_text(frozen: Path) -> None:
    service = made(frozen, settings=ServeSettings(added_items=1))

    async def main() -> None:
        with pytest.raises(Refused, match="takes 1 new items"):
            await service.registry.add("frozen", pl.DataFrame(NEW))
        with pytest.raises(Refused, match="new item 'new-1': categories 'a text' is no List"):
            await service.registry.add("frozen", pl.DataFrame([{**NEW[0], "categories": "a text"}]))

    asyncio.run(main())
    mixed = Registry.frame([{**item, "categories": c} for item, c in zip(NEW, (["a list"], "a text"), strict=True)])
    with pytest.raises(DataError, match="new item 'new-2': categories 'a text' is no List"):
        with_new_items(sl.load(frozen), mixed)
    with pytest.raises(DataError, match="'a' has no text in 'title'"):
        with_new_items(sl.load(frozen), pl.DataFrame([{"item_id": "a", "title": " "}]))


def test_attributes_of_new_items_are_what_the_catalogue_has_or_refused(split: Split, tiny_encoder: Path) -> None:
    from seqlore.models import LLMSeqSim  # type: ignore[attr-defined]

    odd = split.catalog.items.with_columns(
        delivery=pl.lit(timedelta(days=3)),
        unknown=pl.lit(None),
        first=pl.lit("2024-05-01").str.to_date(),
        pieces=pl.lit(1),
        sizes=pl.concat_list(pl.lit(1)),
        weight=pl.lit(2.5),
    )
    shop = Dataset.from_frames(split.dataset.interactions, odd)
    model = LLMSeqSim(text={"encoder": str(tiny_encoder), "store": None}).fit(leave_one_out(shop))
    given = {
        "item_id": "new",
        "title": "spade",
        "first": "2026-11-23",
        "pieces": 3.0,
        "sizes": [4.0],
        "weight": "7.5",
    }
    given["unknown"] = "red"
    new = with_new_items(model, pl.DataFrame([given])).catalog.items[-1].to_dicts()[0]
    assert (new["first"], new["pieces"], new["sizes"], new["weight"]) == (date(2026, 11, 23), 3, [4], 7.5)
    for name, value in {
        "delivery": "2d",
        "first": "soon",
        "pieces": 2.5,
        "sizes": [1.0, 0.5],
        "weight": "heavy",
    }.items():
        with pytest.raises(DataError, match=f"new item 'new': {name} .* is no "):
            with_new_items(model, pl.DataFrame([{**given, name: value}]))


def test_a_model_that_learned_each_item_takes_no_new_ones(split: Split) -> None:
    model = MostPopular().fit(split)
    assert not takes_new_items(model)
    with pytest.raises(DataError, match="takes no new items"):
        with_new_items(model, pl.DataFrame(NEW))


def test_text_similarity_takes_new_items(split: Split, tiny_encoder: Path, tmp_path: Path) -> None:
    from seqlore.models import LLMSeqSim  # type: ignore[attr-defined]

    text = {"encoder": str(tiny_encoder), "store": str(tmp_path)}
    model = LLMSeqSim(text=text).fit(split)
    longer = with_new_items(model, pl.DataFrame([{"item_id": "twin", "title": split.catalog.titles[2]}]))
    assert longer.recommend([[split.catalog.ids[2]]], k=1).items == [["twin"]]  # type: ignore[attr-defined]
    assert not takes_new_items(LLMSeqSim(text=text, reduce="pca", width=4).fit(split))


def test_a_model_that_extends_itself_takes_new_items(split: Split, tmp_path: Path) -> None:
    few = {"embedding_size": 8, "layers": 1, "vocabulary": 300, "epochs": 1, "pretrain_epochs": 1, "fields": ["title"]}
    folder = model_class("Recformer")(**few).fit(split).save(tmp_path / "m")
    twins = [wire.NewItem(item_id=name, title="steel garden spade") for name in ("one", "other")]

    async def main() -> None:
        service = made(folder)
        assert (await service.add_items(wire.AddItemsRequest(items=twins))).models == ["m"]
        told = await service.similar(wire.SimilarRequest(item="one", k=100))
        scores = {each.item_id: each.score for each in told.items}
        assert scores["other"] == pytest.approx(1, abs=1e-4), "the same text stands at the same place"
        assert scores["other"] == pytest.approx(max(scores.values()), abs=1e-4)
        every = wire.RecommendRequest(history=split.catalog.ids[:2], k=50)
        assert {"one", "other"} < {i.item_id for i in (await service.recommend(every)).lists[0].items}

    asyncio.run(main())
    with pytest.raises(DataError, match="'a' has no text in 'title', which the model reads"):
        with_new_items(sl.load(folder), pl.DataFrame([{"item_id": "a", "title": " "}]))


def test_a_model_that_can_tells_its_label_when_asked(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, "Telling", "telling:Telling")
    service = made(Telling().fit(split).save(tmp_path / "m"))
    assert "label" in service.models().models[0].abilities
    first, second = split.catalog.ids[:2]
    asked = {"history": [], "items": [second, first]}
    silent = asyncio.run(service.explain(wire.ExplainRequest(**asked)))
    assert [i.label for i in silent.items] == [None, None], "a label takes a while, so it is told when asked for"
    told = asyncio.run(service.explain(wire.ExplainRequest(**asked, label=True)))
    assert [i.label for i in told.items] == [f"<b>item</b> {second}", f"<b>item</b> {first}"]


def test_a_reranker_alone_reranks_and_no_more(two_stage: Path, split: Split) -> None:
    service = made(two_stage / "reranker")
    assert service.models().models[0].abilities == ["rerank", "explain"]

    async def main() -> None:
        told = await service.rerank(
            wire.RerankRequest(history=split.catalog.ids[:2], candidates=split.catalog.ids[5:9])
        )
        assert {i.item_id for i in told.items} == set(split.catalog.ids[5:9])
        with pytest.raises(Refused, match="no served model can recommend"):
            await service.recommend(wire.RecommendRequest(history=[]))

    asyncio.run(main())


def test_lore_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"x\.parquet: not a file of lore"):
        Knowledge([tmp_path / "x.parquet"])


def test_sources_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model to serve"):
        find_models([])
    assert Source("a", tmp_path).name == "a"
