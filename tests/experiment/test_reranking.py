"""A grid of pairs, small enough to be run: what is kept, what is done again, what is compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqlore.errors import ConfigError
from seqlore.evaluation import Report
from seqlore.evaluation.metrics import average_precision, ndcg
from seqlore.experiment.pairs import PairRecipe, merged
from seqlore.experiment.reranking import Pair, by_user, model_of, run_pairs

RECIPES = sorted(p for p in (Path(__file__).parents[2] / "recipes").rglob("ur4rec-*.toml"))


def recipe(folder: Path, encoder: Path) -> dict[str, Any]:
    return {
        "dataset": {"simulate": {"users": 60, "items": 80, "seed": 3, "reviews": False}},
        "split": {"protocol": "user-ratio", "parts": [6, 2, 2], "targets": 2, "first": 4},
        "candidates": {"n": 9},
        "evaluation": {"against": ["base", "UR4Rec"], "at": [1, 10]},
        "settings": {"epochs": 1, "embedding_size": 8, "target_pool": 1, "warmup_steps": 0},
        "knowledge": {"store": str(folder / "l"), "vectors": str(folder / "v"), "encoder": str(encoder)},
        "defaults": {"UR4Rec": {"body": "random", "size": 8, "proxies": 5, "pretrain": True}},
        "backbones": [
            {"model": "PRM"},
            {"model": "SASRecReranker", "label": "SASRec", "augmentations": {"UR4Rec": {"proxies": 3}}},
        ],
        "augmentations": [
            {"label": "UR4Rec", "name": "UR4Rec", "settings": {"pretrain": False}},
            {"label": "base", "name": "NoAugmentation"},
            {"label": "KAR", "name": "KAR", "backbones": ["PRM"]},
        ],
        "recommenders": [{"model": "ItemKNN", "label": "neighbours"}],
        "published": {
            "metrics": ["ndcg@10", "map@1"],
            "rows": {"PRM": {"KAR": [0.5]}},
            "recommenders": {"neighbours": {"ndcg@10": 0.6}},
        },
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> tuple[PairRecipe, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("pairs")
    made = PairRecipe.parse(recipe(folder, tiny_encoder), "recipe")
    return made, folder / "run", run_pairs(made, out=folder / "run")


def test_every_pair_has_its_row_beside_what_is_published(done: tuple[PairRecipe, Path, dict[str, Any]]):
    _, folder, results = done
    rows = {(row["backbone"], row["augmentation"]): row for row in results["rows"]}
    assert list(rows) == [("PRM", "base"), ("SASRec", "base"), ("PRM", "UR4Rec"), ("SASRec", "UR4Rec"), ("PRM", "KAR")]
    assert rows["PRM", "KAR"]["published"] == {"ndcg@10": 0.5}
    assert rows["PRM", "base"]["epoch_times_base"] == 1
    assert rows["PRM", "UR4Rec"]["epoch_times_base"] > 0
    assert set(rows["PRM", "KAR"]["metrics"]) == {"map@1", "map@10", "ndcg@1", "ndcg@10"} == set(results["popularity"])
    assert results["candidates"].startswith("target + 9 items")
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["errors"] == {}


def test_recommenders_are_judged_on_the_same_lists(done: tuple[PairRecipe, Path, dict[str, Any]]):
    recipe, folder, results = done
    (row,) = results["recommenders"]
    assert (row["label"], row["published"]) == ("neighbours", {"ndcg@10": 0.6})
    assert set(row["metrics"]) == set(results["popularity"])
    report = Report.load(folder / "recommenders" / "neighbours--0" / "report")
    assert report.about["candidates"] == results["candidates"]
    with pytest.raises(ConfigError, match="did you mean 'neighbours'"):
        run_pairs(recipe, out=folder, only=["neighbour"])


def test_comparisons_are_made_once_and_corrected_together(done: tuple[PairRecipe, Path, dict[str, Any]]):
    found = done[2]["comparisons"]
    assert [(c["backbone"], c["a"], c["b"]) for c in found] == [
        ("PRM", "UR4Rec", "base"),
        ("SASRec", "UR4Rec", "base"),
        ("PRM", "KAR", "base"),
        ("PRM", "KAR", "UR4Rec"),
        ("PRM", "base", "neighbours"),
        ("SASRec", "base", "neighbours"),
        ("PRM", "UR4Rec", "neighbours"),
        ("SASRec", "UR4Rec", "neighbours"),
    ]
    assert min(c["p_holm"] for c in found) == pytest.approx(min(1, 8 * min(c["p"] for c in found)))
    assert all(c["users"] == 12 for c in found)


def test_settings_go_from_the_whole_to_the_pair(done: tuple[PairRecipe, Path, dict[str, Any]]):
    _, folder, _ = done
    told = {label: model_of(folder, label).config for label in ("PRM · UR4Rec", "SASRec · UR4Rec")}
    given = [c.augmentation.parsed() for c in told.values()]
    assert [(each.size, each.proxies, each.pretrain) for each in given] == [(8, 5, False), (8, 3, False)]
    assert {c.embedding_size for c in told.values()} == {8}
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}


def test_what_is_finished_is_not_done_again(
    done: tuple[PairRecipe, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    made, folder, results = done
    ran: list[str] = []
    monkeypatch.setattr(Pair, "run", lambda self, *_: ran.append(self.label))
    assert run_pairs(made, out=folder)["rows"] == results["rows"]
    assert ran == []
    wider = made.model_copy(update={"settings": {**made.settings, "embedding_size": 4}})
    with pytest.raises(ConfigError, match="no such backbone, augmentation, pair or recommender; did you mean 'PRM'"):
        run_pairs(wider, out=folder, only=["PRN"])
    run_pairs(wider, out=folder, only=["SASRec"])
    assert ran == ["SASRec · base", "SASRec · UR4Rec"]


def test_users_and_not_cases_are_compared():
    frame = pl.DataFrame({"user_id": ["b", "a", "b"], "rank": [1, 2, None]})
    report = Report("m", {"ndcg@1": 0.0, "cases": 3}, frame)
    assert by_user([report], "ndcg@1").tolist() == [0, 0.5]
    assert by_user([report, report], "ndcg@1").tolist() == [0, 0.5]


def test_mistakes_are_named(tmp_path: Path, tiny_encoder: Path):
    good = recipe(tmp_path, tiny_encoder)
    for changed, words in (
        ({"evaluation": {"against": ["bass"]}}, "did you mean 'base'"),
        ({"backbones": [{"model": "PRM"}, {"model": "PRM"}]}, "one label"),
        ({"split": {"ties": ["file", "shuffled"]}}, "one tie rule"),
        ({"evaluation": {"metric": "ndcg@7"}}, "not among at"),
        ({"defaults": {"UR4Rek": {}}}, "did you mean 'UR4Rec'"),
        ({"backbone": []}, "did you mean 'backbones'"),
    ):
        with pytest.raises(ConfigError, match=words):
            PairRecipe.parse({**good, **changed}, "recipe")
    with pytest.raises(ConfigError, match="no finished pair 'PRM · base · seed 0'"):
        model_of(tmp_path, "PRM · base")
    with pytest.raises(ConfigError, match="cannot be read"):
        PairRecipe.load(tmp_path / "none.toml")


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_the_recipes_are_valid_and_quote_whole_rows(path: Path):
    loaded = PairRecipe.load(path)
    assert {(b.label, c.label) for b, c in loaded.pairs()} >= {("PRM", "base"), ("PRM", "UR4Rec")}
    if loaded.published.rows:
        quoted = [row for rows in loaded.published.rows.values() for row in rows.values()]
        assert sorted({len(row) for row in quoted}) == [2, 8]
        assert sum(len(row) == 8 for row in quoted) == 25


def test_published_rows_that_no_ranking_of_single_targets_makes():
    """docs/papers/zhang2025.md says which: with one target a list, MAP and NDCG are both sums over its places."""
    from scipy.optimize import linprog

    place = np.arange(1, 21)
    impossible = []
    for path in RECIPES:
        published = PairRecipe.load(path).published
        for backbone, rows in published.rows.items():
            for column, row in rows.items():
                if len(row) < 8:
                    continue
                values = published.of(backbone, column)
                kinds = {"map": average_precision, "ndcg": ndcg}
                weights = np.array([kinds[m.split("@")[0]](place, int(m.split("@")[1])) for m in values])
                told, slack = np.array(list(values.values())), 0.001 + 1e-9
                limits = np.concatenate([told + slack, slack - told, [1]])
                shares = linprog(np.zeros(20), np.concatenate([weights, -weights, np.ones((1, 20))]), limits)
                if not shares.success:
                    impossible.append((path.stem, backbone, column))
    assert len(impossible) == 22
    assert sum(column in ("KAR", "+LLM") for _, _, column in impossible) == 17
