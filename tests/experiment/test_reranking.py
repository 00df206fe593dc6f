"""A grid of pairs, small enough to be run: what is kept, what is done again, what is compared."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqlore.errors import ConfigError
from seqlore.evaluation import Report
from seqlore.evaluation.metrics import average_precision, ndcg
from seqlore.experiment import judged
from seqlore.experiment.judged import _as_before
from seqlore.experiment.pairs import Column, PairRecipe, Whole, merged
from seqlore.experiment.reranking import Pair, _comparisons, by_user, model_of, run_pairs
from seqlore.experiment.screen import Screen

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
    report = Report.load(folder / row["folders"][0] / "report")
    assert report.about["candidates"] == results["candidates"]
    with pytest.raises(ConfigError, match="did you mean 'neighbours'"):
        run_pairs(recipe, out=folder, only=["neighbour"])


@pytest.mark.parametrize("model", ["LRURec", "Recformer"])
def test_recommenders_of_the_paper_score_the_same_candidates(
    done: tuple[PairRecipe, Path, dict[str, Any]], tmp_path: Path, model: str
):
    made, _, results = done
    settings = {"epochs": 1, "embedding_size": 8, "dropout": 0.0}
    if model == "Recformer":
        settings |= {"vocabulary": 300, "layers": 1, "pretrain_epochs": 1, "refresh_epochs": 1}
    alone = made.model_copy(update={"recommenders": (Whole(model=model, label=model, settings=settings),)})
    (row,) = run_pairs(alone, out=tmp_path, only=[model])["recommenders"]
    assert set(row["metrics"]) == set(results["popularity"])
    report = Report.load(tmp_path / row["folders"][0] / "report")
    assert report.about["candidates"] == results["candidates"]
    assert report.per_case["rank"].is_between(1, 10).all(), "each target is found somewhere among its ten"
    assert report.per_case["rank"].n_unique() > 1


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


def test_the_base_of_what_is_asked_for_is_fitted_once_and_stands_in_the_table(
    done: tuple[PairRecipe, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made, _, results = done
    ran: list[tuple[str, str | None]] = []
    run = Pair.run

    def told(self: Pair, source: Any, cases: Any, screen: Any, base: Pair | None = None) -> None:
        ran.append((self.label, base and base.label))
        run(self, source, cases, screen, base)

    monkeypatch.setattr(Pair, "run", told)
    twice = made.model_copy(
        update={
            "augmentations": (
                *made.augmentations,
                Column(name="UR4Rec", label="w/o proxy", settings={"pretrain": False, "proxies": 0}),
            )
        }
    )
    found = run_pairs(twice, out=tmp_path, only=["PRM · w/o proxy", "PRM · UR4Rec", "PRM · KAR"])
    assert ran == [
        ("PRM · base", None),
        ("PRM · UR4Rec", "PRM · base"),
        ("PRM · KAR", "PRM · base"),
        ("PRM · w/o proxy", "PRM · base"),
    ]
    before = {(row["backbone"], row["augmentation"]): row["metrics"] for row in results["rows"]}
    rows = {row["augmentation"]: row["metrics"] for row in found["rows"]}
    assert rows["UR4Rec"] == before["PRM", "UR4Rec"], "the same as among all"
    assert rows["base"] == before["PRM", "base"]
    ran.clear()
    run_pairs(made, out=tmp_path / "one phase", only=["PRM · KAR"])
    assert ran == [("PRM · KAR", "PRM · base")], "KAR starts from nothing"


def test_a_base_that_failed_is_fitted_by_the_next_run_and_stays_where_another_is_fitted_again(
    done: tuple[PairRecipe, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made, _, _ = done
    ran: list[str] = []
    run = Pair.run

    def told(self: Pair, *rest: Any) -> None:
        ran.append(self.label)
        if self.column.label == "base" and len(ran) == 1:
            raise RuntimeError("no luck")
        run(self, *rest)

    monkeypatch.setattr(Pair, "run", told)
    first = run_pairs(made, out=tmp_path, only=["PRM · UR4Rec"])
    assert [*first["errors"]] == ["PRM · base · seed 0"]
    assert [row["augmentation"] for row in first["rows"]] == ["UR4Rec"], "which fitted a base of its own"
    second = run_pairs(made, out=tmp_path, only=["PRM · UR4Rec"])
    assert ran == ["PRM · base", "PRM · UR4Rec", "PRM · base"]
    assert {row["augmentation"] for row in second["rows"]} == {"base", "UR4Rec"}
    ran.clear()
    run_pairs(made, out=tmp_path, only=["PRM · UR4Rec"], resume=False)
    assert ran == ["PRM · UR4Rec"]


def test_other_settings_take_nothing_away_and_old_names_are_found(
    done: tuple[PairRecipe, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made, folder, results = done
    shutil.copytree(folder, tmp_path / "run")
    before = {path.name for path in (folder / "pairs").iterdir()}
    wider = made.model_copy(update={"settings": {**made.settings, "embedding_size": 4}})
    run_pairs(wider, out=tmp_path / "run", only=["PRM · base"])
    after = {path.name for path in (tmp_path / "run" / "pairs").iterdir()}
    assert before < after
    assert len(after) == len(before) + 1
    assert model_of(tmp_path / "run", "PRM · base").config.embedding_size == 4, "that of the latest table"
    assert model_of(tmp_path / "run", "SASRec · base").config.embedding_size == 8
    for path in (tmp_path / "run" / "pairs").iterdir():
        if path.name in before:
            path.rename(path.with_name(path.name.rsplit("--", 1)[0]))  # as they were called before
    monkeypatch.setattr(Pair, "run", lambda self, *_: pytest.fail(f"{self.label} is finished"))
    again = run_pairs(made, out=tmp_path / "run")
    assert [row["metrics"] for row in again["rows"]] == [row["metrics"] for row in results["rows"]]


def test_what_a_fit_has_left_stays_until_its_record_stands(
    done: tuple[PairRecipe, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made, _, _ = done

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(judged, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            run_pairs(made, out=tmp_path, only=["PRM · base"])
    assert list(tmp_path.rglob("unfinished-*/net*")), "its checkpoints"
    seen: list[int] = []
    monkeypatch.setattr(Screen, "epoch", lambda self, row: seen.append(row["epoch"]))
    assert run_pairs(made, out=tmp_path, only=["PRM · base"])["rows"]
    assert seen == [], "nothing is learned again"
    assert not list(tmp_path.rglob("unfinished-*"))


def test_the_phase_is_shown(monkeypatch: pytest.MonkeyPatch):
    shown: list[str] = []
    monkeypatch.setattr(Screen, "_describe", lambda self, what: shown.append(what))
    screen = Screen(on=False)
    screen.begin("PRM · UR4Rec")
    for stage in ({"stage": "pretrain"}, {}):
        screen.epoch({**stage, "epoch": 2, "train_loss": 1.5, "valid": {"ndcg@10": 0.25}})
    assert shown[1:] == [
        "PRM · UR4Rec · pretrain · epoch 2 · loss 1.500 · ndcg@10 0.2500",
        "PRM · UR4Rec · epoch 2 · loss 1.500 · ndcg@10 0.2500",
    ]


def test_a_setting_that_came_later_leaves_digests_as_they_were():
    before = {"epochs": 1, "augmentation": {"settings": {"pretraining": {"clip_norm": None}}}}
    phase = {"clip_norm": None, "schedule_epochs": None}
    after = {"epochs": 1, "schedule_epochs": None, "augmentation": {"settings": {"pretraining": phase}}}
    assert _as_before(after) == before
    assert _as_before({"schedule_epochs": 3}) == {"schedule_epochs": 3}


def test_one_pair_may_break_in_any_way_and_the_others_go_on(
    done: tuple[PairRecipe, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made, folder, _ = done
    shutil.copytree(folder, tmp_path / "run")
    run = Pair.run

    def broken(self: Pair, *arguments: Any) -> None:
        if self.label == "PRM · base":
            raise RuntimeError("shape '[2, -1, 3]' is invalid\nand so on")
        run(self, *arguments)

    monkeypatch.setattr(Pair, "run", broken)
    narrow = made.model_copy(update={"settings": {**made.settings, "embedding_size": 4}})
    found = run_pairs(narrow, out=tmp_path / "run", only=["base"])
    told = "RuntimeError: shape '[2, -1, 3]' is invalid (traceback in failed.jsonl)"
    assert found["errors"] == {"PRM · base · seed 0": told}
    assert [row["backbone"] for row in found["rows"]] == ["SASRec"]
    *_, line = (tmp_path / "run" / "failed.jsonl").read_text().splitlines()
    assert "Traceback" in json.loads(line)["traceback"]


def test_a_killed_pair_goes_on_and_comes_to_the_same(
    done: tuple[PairRecipe, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made, _, _ = done
    longer = made.model_copy(
        update={
            "settings": {**made.settings, "epochs": 3},
            "augmentations": tuple(
                each.model_copy(update={"settings": {"pretraining": {"epochs": 2, "negatives": 3}}})
                if each.label == "UR4Rec"
                else each
                for each in made.augmentations
            ),
        }
    )
    only = ["PRM · base", "PRM · UR4Rec"]
    whole = run_pairs(longer, out=tmp_path / "whole", only=only)
    seen: list[tuple[str | None, int]] = []
    epoch = Screen.epoch
    for kill in (("pretrain", 1), (None, 2)):

        def killed(self: Screen, row: dict[str, Any], kill: tuple[str | None, int] = kill) -> None:
            seen.append((row.get("stage"), row["epoch"]))
            epoch(self, row)
            if seen[-1] == kill and ("pretrain", 1) in seen:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Screen, "epoch", killed)
            with pytest.raises(KeyboardInterrupt):
                run_pairs(longer, out=tmp_path / "killed", only=only)
    monkeypatch.setattr(Screen, "epoch", lambda self, row: seen.append((row.get("stage"), row["epoch"])))
    resumed = run_pairs(longer, out=tmp_path / "killed", only=only)
    base = [(None, 1), (None, 2), (None, 3)]
    assert seen == [*base, ("pretrain", 1), ("pretrain", 2), (None, 1), (None, 2), (None, 3)], "each epoch once"
    assert [row["metrics"] for row in resumed["rows"]] == [row["metrics"] for row in whole["rows"]]
    assert not list((tmp_path / "killed").rglob("unfinished-*"))


class Seeded:
    """One seed of a row, with the same value for every user."""

    def __init__(self, seed: int, place: int | None) -> None:
        self.seed, self.place = seed, place

    def report(self) -> Report:
        frame = pl.DataFrame(
            {"user_id": ["a", "b"], "rank": [self.place, self.place]}, schema_overrides={"rank": pl.Int64}
        )
        return Report("m", {"ndcg@1": 0.0, "cases": 2}, frame)


def test_rows_are_compared_on_the_seeds_that_both_have(done: tuple[PairRecipe, Path, dict[str, Any]]):
    made = done[0]
    judging = made.evaluation.model_copy(update={"metric": "ndcg@1", "against": ("base",)})
    groups: Any = {
        ("PRM", "base"): [Seeded(0, 1), Seeded(1, None)],
        ("PRM", "ours"): [Seeded(1, 1), Seeded(2, None)],
        ("PRM", "other"): [Seeded(5, 1)],
    }
    found = _comparisons(made.model_copy(update={"evaluation": judging}), groups, {})
    assert [(each["a"], each["seeds"], each["difference"]) for each in found] == [("ours", [1], 1.0)]


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
    impossible = set()
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
                    impossible.add((path.stem, backbone, column))
    page = (RECIPES[0].parents[2] / "docs" / "papers" / "zhang2025.md").read_text(encoding="utf-8")
    table = page.split("## Published rows that no ranking can produce")[1].split("## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    told = set()
    for backbone, *cells in ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]):
        for stem, cell in zip(("ur4rec-ml1m", "ur4rec-amazon-book", "ur4rec-steam"), cells, strict=True):
            names = {"BERT": "+BERT", "Llama2": "+LLM"}
            told |= {(stem, backbone, names.get(name, name)) for name in filter(None, cell.split(", "))}
    assert impossible == told
    assert len(impossible) == 22
    assert sum(column in ("KAR", "+LLM") for _, _, column in impossible) == 17


@pytest.mark.parametrize("path", [p for p in RECIPES if "At\n# their size" in p.read_text()], ids=lambda p: p.name)
def test_the_settings_that_a_recipe_gives_for_full_size_are_settings(path: Path):
    header = path.read_text(encoding="utf-8").split("\n\n")[0].replace("\n#", " ")
    given = shlex.split(header.split("for all rows alike")[1].split("(augmentations.")[0])
    changes = [value for flag, value in itertools.pairwise(given) if flag == "--set"]
    assert len(changes) == 16
    full = PairRecipe.load(path, changes)
    made = {(b.label, c.label): full.model(b, c, 0).config for b, c in full.pairs()}
    assert {config.embedding_size for config in made.values()} == {768}
    assert {made[name, "base"].hidden_size for name in ("DLCM", "GRU4Rec")} == {768}
    assert {made[name, "base"].learning_rate for name in ("DLCM", "PRM", "SetRank")} == {1e-4}
    retriever = made["PRM", "w/o CL"].augmentation.parsed()
    assert (retriever.rate, retriever.layers, retriever.width) == (1.0, 12, 768)
    assert made["PRM", "KAR"].augmentation.parsed().hidden == 768
