"""Reranking recipes before anything is fitted: what is refused, and what rows of a grid differ in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from seqlore.errors import ConfigError
from seqlore.experiment.data import open_dataset
from seqlore.experiment.pairs import PairRecipe
from seqlore.experiment.recipe import DatasetSettings

RECIPES = sorted(p for p in (Path(__file__).parents[2] / "recipes").rglob("ur4rec-*.toml"))
#: Row → the settings in which it differs from "UR4Rec", by Table 3 and our controls.
SWITCHES = {
    "w/o proxy": {"proxies"},
    "proxy random": {"fresh_proxies"},
    "w/o CL": {"contrast"},
    "w/o PIM": {"matching"},
    "w/o LLM": {"knowledge.texts"},
    "w/o pretrain": {"pretrain"},
    "Z permuted": {"z", "z_seed"},
    "preference permuted": {"z", "z_seed"},
    "Z of ids": {"z"},
}


def recipe(**changed: Any) -> PairRecipe:
    given: dict[str, Any] = {
        "dataset": {"simulate": {"users": 60, "items": 80}},
        "backbones": [{"model": "PRM"}, {"model": "SASRecReranker", "label": "SASRec"}],
        "augmentations": [{"label": "base", "name": "NoAugmentation"}, {"label": "ours", "name": "UR4Rec"}],
        "recommenders": [{"model": "ItemKNN"}],
    }
    return PairRecipe.parse({**given, **changed}, "recipe")


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return out


def told(loaded: PairRecipe, backbone: str, label: str, seed: int = 0) -> dict[str, Any]:
    pair = next((b, c) for b, c in loaded.pairs() if (b.label, c.label) == (backbone, label))
    return flat(loaded.model(*pair, seed).config.model_dump(mode="json"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_a_row_differs_in_its_own_switch_alone_also_at_full_size(path: Path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#   --set ")]
    full = [each.strip("'") for line in header for each in re.findall(r"--set ('[^']+'|\S+)", line)]
    assert bool(full) == (path.stem in ("ur4rec-ml1m", "ur4rec-steam", "ur4rec-amazon-book"))
    for changes in ([], full) if full else ([],):
        loaded = PairRecipe.load(path, changes)
        rows = [(b.label, c.label) for b, c in loaded.pairs() if c.label in SWITCHES]
        assert rows
        for backbone, label in rows:
            ours, row = (told(loaded, backbone, each, seed=3) for each in ("UR4Rec", label))
            differ = {key.removeprefix("augmentation.settings.") for key in row if row[key] != ours[key]}
            assert differ == SWITCHES[label], (backbone, label)
    if full:
        loaded = PairRecipe.load(path, full)
        assert {
            each: told(loaded, each, "UR4Rec")["learning_rate"] for each in ("DLCM", "PRM", "SetRank", "GRU4Rec")
        } == {
            "DLCM": 1e-4,
            "PRM": 1e-4,
            "SetRank": 1e-4,
            "GRU4Rec": 1e-3,
        }
        assert told(loaded, "PRM", "w/o CL")["augmentation.settings.layers"] == 12


def test_defaults_go_by_the_backbone_without_a_recipe():
    keys = [f"augmentation.settings.{key}" for key in ("proxies", "history", "knowledge.history")]
    made = recipe()
    assert [told(made, "PRM", "ours")[key] for key in keys] == [8, 10, 10]
    assert [told(made, "SASRec", "ours")[key] for key in keys] == [16, 150, 150]
    short = recipe(settings={"history_length": 20})
    assert [told(short, "SASRec", "ours")[key] for key in keys] == [16, 20, 150]
    own = recipe(defaults={"UR4Rec": {"proxies": 3, "history": 7, "knowledge": {"history": 5}}})
    assert [told(own, "SASRec", "ours")[key] for key in keys] == [3, 7, 5]


def test_another_seed_permutes_anew():
    made = recipe(defaults={"UR4Rec": {"z": "permuted"}})
    assert [told(made, "PRM", "ours", seed)["augmentation.settings.z_seed"] for seed in (0, 3)] == [0, 3]
    fixed = recipe(defaults={"UR4Rec": {"z": "permuted", "z_seed": 5}})
    assert told(fixed, "PRM", "ours", 3)["augmentation.settings.z_seed"] == 5
    assert told(recipe(), "PRM", "ours", 3)["augmentation.settings.z_seed"] == 0, "where nothing is permuted"


def test_bert_aug_reads_raw_texts_whatever_else_is_asked_for():
    made = recipe(
        knowledge={"item": "movie"},
        augmentations=[{"label": "+BERT", "name": "BERTAug"}, {"label": "+LLM", "name": "LLMAug"}],
    )
    assert told(made, "PRM", "+BERT")["augmentation.settings.knowledge.texts"] == "raw"
    assert told(made, "PRM", "+BERT")["augmentation.settings.knowledge.item"] == "movie"
    assert told(made, "PRM", "+LLM")["augmentation.settings.knowledge.texts"] == "lore"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"backbones": [{"model": "PRM", "augmentations": {"UR4Rek": {}}}]}, "'UR4Rek'; did you mean 'UR4Rec'"),
        (
            {"backbones": [{"model": "PRM", "augmentations": {"KAR": {}}}]},
            "backbones.PRM.augmentations: there is no row",
        ),
        (
            {"augmentations": [{"label": "ours", "name": "UR4Rec", "backbones": ["PRN"]}]},
            "augmentations.ours.backbones: there is no backbone 'PRN'; did you mean 'PRM'",
        ),
        (
            {"published": {"rows": {"SASRek": {}}}},
            "published.rows: there is no backbone 'SASRek'; did you mean 'SASRec'",
        ),
        ({"published": {"rows": {"PRM": {"our": []}}}}, "published.rows.PRM: there is no augmentation 'our'; did you"),
        ({"published": {"recommenders": {"ItemKN": {}}}}, "there is no recommender 'ItemKN'; did you mean 'ItemKNN'"),
        ({"published": {"metrics": ["ndgc@10"]}}, "ndgc"),
        ({"published": {"metrics": ["ndcg@10"], "rows": {"PRM": {"ours": [1, 2]}}}}, "2 values for 1 metrics"),
        ({"seeds": [0, 1, 0]}, "give each seed once"),
        ({"candidates": {"kind": "retrieved", "retriever": {"model": "SASRek"}}}, "did you mean 'SASRec'"),
        (
            {"candidates": {"kind": "retrieved", "retriever": {"model": "SASRec", "settings": {"layer": 1}}}},
            "did you mean 'layers'",
        ),
        ({"candidates": {"kind": "retrieved", "n": 9}}, "'n' belongs to kind 'uniform', not to 'retrieved'"),
        ({"candidates": {"folds": 3}}, "'folds' belongs to kind 'retrieved', not to 'uniform'"),
        ({"dataset": {"path": "x", "k_core": 5, "user_core": 5}}, "and not both"),
    ],
)
def test_names_and_keys_that_lead_nowhere_are_refused(changed: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=re.escape(words)):
        recipe(**changed)


def test_what_is_written_down_can_be_read_again(tmp_path: Path):
    for candidates in ({"n": 9}, {"kind": "retrieved", "k": 7, "retriever": {"model": "MostPopular"}}):
        made = recipe(candidates=candidates)
        (tmp_path / "recipe.toml").write_text(made.to_toml())
        assert PairRecipe.load(tmp_path / "recipe.toml").candidates == made.candidates


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"embedding_size": 50, "heads": 4}, "embedding_size = 50 cannot have heads = 4"),
        ({"augmentation": {"name": "UR4Rec", "settings": {"history": 11}}}, "UR4Rec on PRM: history = 11"),
        ({"augmentation": {"name": "UR4Rec", "settings": {"body": "random", "heads": 3}}}, "cannot have heads = 3"),
        *(
            (
                {"augmentation": {"name": "UR4Rec", "settings": {"pretraining": {name: value}}}},
                f"{name} does nothing in phase 1",
            )
            for name, value in (
                ("patience", 2),
                ("validate_every", 2),
                ("monitor", "ndcg@5"),
                ("seed", 1),
                ("device", "cpu"),
            )
        ),
    ],
)
def test_settings_that_would_do_nothing_or_break_later_are_refused(settings: dict[str, Any], words: str):
    from seqlore.rerank import DLCM, PRM

    with pytest.raises(ConfigError, match=re.escape(words)):
        PRM(**settings)
    DLCM(embedding_size=50, heads=4)  # which attends to nothing, unless it reads the history
    with pytest.raises(ConfigError, match="heads must divide it"):
        DLCM(embedding_size=50, heads=4, reads_history=True)


def test_users_and_items_may_have_limits_of_their_own():
    shop = {"users": 200, "items": 60, "interactions_per_user": 8, "reviews": False}
    given = {"simulate": shop}
    for limits, users, items in (
        ({"user_core": 4, "item_core": 3}, 4, 3),
        ({"item_core": 4}, 1, 4),
        ({"k_core": 3}, 3, 3),
    ):
        assert DatasetSettings.parse({**given, **limits}, "dataset").core == (users, items)
        events = open_dataset(DatasetSettings.parse({**given, **limits}, "dataset")).interactions
        assert events["user_id"].value_counts()["count"].min() >= users
        assert events["item_id"].value_counts()["count"].min() >= items
    assert DatasetSettings.parse(given, "dataset").core is None
