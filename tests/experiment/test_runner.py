"""Runs: what they write, what they spare when started again, and what a failure leaves standing."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import seqlore as sl
from backbones import make_backbone
from seqlore.cli.run import show_leaderboard
from seqlore.config import digest
from seqlore.data import Split, leave_one_out
from seqlore.data.simulate import simulate
from seqlore.errors import DataError
from seqlore.experiment import Recipe, model_folder, refit, run
from seqlore.experiment.contents import contents
from seqlore.experiment.journal import Journal
from seqlore.experiment.leaderboard import bootstrap
from seqlore.experiment.recipe import EvaluationSettings, ModelSettings, text_sources
from seqlore.experiment.screen import Screen
from seqlore.experiment.trial import PeakMemory, Trial, chosen_on_validation
from seqlore.models import Blend, Markov, MostPopular, SASRec  # type: ignore[attr-defined]

NET = {"embedding_size": 8, "max_length": 6, "layers": 1, "epochs": 3, "patience": 3}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(users=150, items=60, interactions_per_user=8, seed=3).save(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def recipe(shop: Path) -> Recipe:
    """MostPopular and Markov, both tie rules."""
    return Recipe.parse(
        {
            "name": "tiny",
            "dataset": {"path": str(shop)},
            "split": {"ties": ["file", "shuffled"]},
            "evaluation": {"at": [5, 10], "baseline": "MostPopular"},
            "published_source": "a paper",
            "models": [{"model": "MostPopular"}, {"model": "Markov", "published": {"ndcg@10": 0.5}}],
        },
        "test",
    )


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts the fits of MostPopular and Markov; writes no page, which would take longer than all the rest."""
    monkeypatch.setattr("seqlore.experiment.runner.write_report", lambda folder: folder)
    counted = {"MostPopular": 0, "Markov": 0}

    def counting(original: Callable, name: str) -> Callable:
        def _fit(self: sl.Recommender, split: Split) -> None:
            counted[name] += 1
            original(self, split)

        return _fit

    for cls in (MostPopular, Markov):
        monkeypatch.setattr(cls, "_fit", counting(cls._fit, cls.__name__))
    return counted


def test_a_run_folder_holds_what_it_promises(recipe: Recipe, tmp_path: Path) -> None:
    result = run(recipe, out=tmp_path)
    board = json.loads((tmp_path / "leaderboard.json").read_text())
    assert board == json.loads(json.dumps(result.board))
    assert board["at"] == [5, 10]
    assert [(row["ties"], row["label"]) for row in board["rows"]] == [
        ("file", "Markov"),
        ("file", "MostPopular"),
        ("shuffled", "Markov"),
        ("shuffled", "MostPopular"),
    ], "by tie rule, best first"
    for row in board["rows"]:
        cases = pl.read_parquet(tmp_path / row["runs"][0]["cases"])
        metric = row["metrics"]["hr@5"]
        assert metric["values"] == [pytest.approx((cases["rank"] <= 5).fill_null(False).mean())]
        assert metric["ci"][0] <= metric["mean"] <= metric["ci"][1]
        assert row["metrics"]["coverage@5"]["ci"] is None
        assert row["metrics"]["novelty@5"]["ci"] is not None
        assert metric["sd"] is None, "one fit has no spread"
        assert row["peak_memory_mb"] > 50
        assert row["split"]["ties"] == row["ties"]
        assert sl.load(tmp_path / row["runs"][0]["model_folder"]).name == row["model"]
    markov = {row["ties"]: row for row in board["rows"] if row["label"] == "Markov"}
    assert markov["file"]["published"] == {"ndcg@10": 0.5}
    assert markov["file"]["published_source"] == "a paper"
    assert markov["shuffled"]["published"] == {}, "published figures belong to the published order"
    assert [(c["a"], c["b"], c["ties"]) for c in board["comparisons"]] == [
        ("Markov", "MostPopular", "file"),
        ("Markov", "MostPopular", "shuffled"),
    ]
    first = board["comparisons"][0]
    means = {row["label"]: row["metrics"]["ndcg@10"]["mean"] for row in board["rows"][:2]}
    assert first["difference"] == pytest.approx(means["Markov"] - means["MostPopular"])
    assert board["winner"]["label"] == "Markov"
    assert result.model().name == "Markov"
    assert model_folder(tmp_path) == tmp_path / "models" / "Markov--file--0"
    assert tomllib.loads((tmp_path / "recipe.toml").read_text())["evaluation"]["exclude_seen"] is True
    assert len(pl.read_csv(tmp_path / "leaderboard.csv")) == len(result.table) == 4
    examples = json.loads((tmp_path / "examples.json").read_text())
    assert len(examples) == 6
    assert not set(examples[0]["history"]) & set(examples[0]["recommendations"]), "seen items stay out"
    assert "Markov" in (tmp_path / "report.html").read_text()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == ["start", "dataset", *["begin", "trial"] * 4, "end"]


def test_a_run_that_was_killed_goes_on_where_it_was(
    recipe: Recipe, tmp_path: Path, fits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:

        def killed(self: sl.Recommender, split: Split) -> None:
            raise KeyboardInterrupt

        patched.setattr(Markov, "_fit", killed)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, out=tmp_path)
    assert fits == {"MostPopular": 1, "Markov": 0}
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": "trial", "label": "Mark')  # the kill cut a line short
    board = run(recipe, out=tmp_path).board
    assert fits == {"MostPopular": 2, "Markov": 2}, "the finished one was not fitted again"
    assert len(board["rows"]) == 4

    again = run(recipe, out=tmp_path).board
    assert fits == {"MostPopular": 2, "Markov": 2}
    assert again["rows"] == board["rows"]


def test_a_net_that_was_killed_ends_as_it_would_have(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "dataset": {"path": str(shop)},
        "evaluation": {"at": [10]},
        "models": [{"model": "SASRec", "settings": NET}],
    }
    recipe = Recipe.parse(settings, "test")
    with monkeypatch.context() as patched:

        def killed(self: Screen, row: dict) -> None:
            if row["epoch"] == 2:
                raise KeyboardInterrupt

        patched.setattr(Screen, "epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, out=tmp_path / "killed")
    seen: list[int] = []
    monkeypatch.setattr(Screen, "epoch", lambda self, row: seen.append(row["epoch"]))
    row = run(recipe, out=tmp_path / "killed").board["rows"][0]
    assert seen == [3], "the first two were not trained again"
    whole = run(recipe, out=tmp_path / "whole").board["rows"][0]
    assert row["metrics"] == whole["metrics"]
    assert row["runs"] == whole["runs"]


def test_a_second_fit_that_was_killed_goes_on_too(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a row that is fitted on validation items too, then of the winner's refit, then of the refit by itself."""
    net = NET | {"schedule": "cosine", "validate_every": 3}  # the only epoch that is validated is the best one
    row = {"model": "SASRec", "fit_on": "train+valid", "settings": net}
    settings = {"dataset": {"path": str(shop)}, "evaluation": {"at": [10]}, "models": [row], "refit_winner": True}
    recipe = Recipe.parse(settings, "test")
    whole = run(recipe, out=tmp_path / "whole").board["rows"][0]
    model = sl.load(tmp_path / "whole" / whole["runs"][0]["model_folder"])
    best = model.config.epochs
    assert (best, model.config.schedule_epochs) == (3, 3)
    shown: list[tuple[str, int]] = []

    def epoch(self: Screen, row: dict) -> None:
        shown.append((self._what, row["epoch"]))
        if len(shown) in kills:
            raise KeyboardInterrupt

    monkeypatch.setattr(Screen, "epoch", epoch)
    kills = {3 + 1, 3 + best + 1}  # after the first epoch of the second fit, and of the refit
    for _ in kills:
        with pytest.raises(KeyboardInterrupt):
            run(recipe, out=tmp_path / "killed")
    killed = run(recipe, out=tmp_path / "killed").board["rows"][0]
    assert len(shown) == 3 + best + best, "no epoch was trained twice"
    assert killed["metrics"] == whole["metrics"]
    assert len((tmp_path / "killed" / "logs" / "SASRec--file--0--train+valid.jsonl").read_text().splitlines()) == best
    finals = [sl.load(model_folder(tmp_path / name)) for name in ("whole", "killed")]
    assert not (tmp_path / "killed" / "checkpoints").exists()

    kills, shown[:] = {1}, []
    options = {"checkpoint": tmp_path / "unfinished", "log": tmp_path / "refit.jsonl"}
    with pytest.raises(KeyboardInterrupt):
        refit(tmp_path / "whole", tmp_path / "again", **options)
    kills = set()
    finals.append(refit(tmp_path / "whole", tmp_path / "again", **options))
    assert [epoch for _, epoch in shown] == list(range(1, best + 1))
    assert len((tmp_path / "refit.jsonl").read_text().splitlines()) == best
    assert not (tmp_path / "unfinished").exists()
    for other in finals[1:]:
        for a, b in zip(finals[0].net.parameters(), other.net.parameters(), strict=True):
            assert a.equal(b)


def test_a_net_is_stopped_by_the_lists_that_it_is_judged_by(shop: Path, tmp_path: Path) -> None:
    row = {"model": "SASRec", "settings": NET | {"epochs": 1}}
    settings = {"dataset": {"path": str(shop)}, "evaluation": {"at": [10, 20]}, "models": [row]}
    recipe = Recipe.parse(settings, "test")
    for changes in ([], ["evaluation.exclude_seen=false"]):  # the second time, the net is fitted again
        run(recipe, out=tmp_path, set=changes)
        record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-2])
        valid = json.loads((tmp_path / "logs" / "SASRec--file--0.jsonl").read_text())["valid"]
        assert valid == pytest.approx({name: record["valid"][name] for name in valid})


def test_what_a_fit_depends_on(shop: Path, tmp_path: Path) -> None:
    split = sl.leave_one_out(sl.Dataset.load(shop))

    def fitted(seed: int = 0, model: str = "SASRec", exclude_seen: bool = True, **settings: Any) -> str:
        entry = ModelSettings(model=model, settings=settings)
        return Trial(entry, "file", seed, split, EvaluationSettings(exclude_seen=exclude_seen), tmp_path).fitted

    assert fitted(exclude_seen=False) != fitted()
    assert fitted(model="Markov", exclude_seen=False) == fitted(model="Markov")
    # As it was before each seed drew a permutation of its own: those of seed 0 are what they were.
    for seed, same in ((0, True), (1, False)):
        entry = ModelSettings(model="SASRec", settings={"item_init": {"permute": True}})
        parts = {"dataset": split.dataset.hash, "split": split.how, "model": "SASRec", "fit_on": "train", "seed": seed}
        before = digest(seqlore=sl.__version__, settings=entry.config.model_dump(mode="json"), **parts)
        assert (fitted(seed, item_init={"permute": True}) == before) is same


def test_a_fit_depends_on_what_lies_behind_the_paths_in_its_settings(shop: Path, tmp_path: Path) -> None:
    split = sl.leave_one_out(sl.Dataset.load(shop))
    folder = make_backbone(tmp_path / "body")

    def fitted() -> str:
        entry = ModelSettings(model="ReLRec", settings={"backbone": {"name": str(folder)}})
        return Trial(entry, "file", 0, split, EvaluationSettings(), tmp_path).fitted

    first = fitted()
    assert fitted() == first
    make_backbone(folder, width=16)
    assert fitted() != first
    assert contents({"model": str(folder), "labels": {"store": str(folder)}, "name": str(folder)}) == {}
    assert contents({"labels": {"files": [str(folder / "config.json")]}}).keys() == {f"{folder / 'config.json'}: ."}
    assert f"{folder}: config.json" in contents({"knowledge": {"model": str(folder)}})


def test_a_fit_depends_on_the_version_of_the_model_that_writes_its_texts(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = sl.leave_one_out(sl.Dataset.load(shop))

    def fitted(**settings: Any) -> str:
        entry = ModelSettings(model="ReLRec", settings={"backbone": {"name": "none"}, "labels": settings})
        return Trial(entry, "file", 0, split, EvaluationSettings(), tmp_path).fitted

    first, handed, other = fitted(), fitted(files=["labels.jsonl"]), fitted(model="openai:some-model")
    monkeypatch.setattr("seqlore.lore.extractive.model.VERSION", 0)
    assert fitted() != first
    assert (fitted(files=["labels.jsonl"]), fitted(model="openai:some-model")) == (handed, other)
    assert contents({"knowledge": {"model": "extractive", "texts": "raw"}}) == {}


def test_only_what_changed_is_fitted_again(recipe: Recipe, tmp_path: Path, fits: dict[str, int]) -> None:
    run(recipe, out=tmp_path)
    run(recipe, out=tmp_path, set=["models.Markov.settings.window=2"])
    assert fits == {"MostPopular": 2, "Markov": 4}
    run(recipe, out=tmp_path, set=["models.Markov.settings.window=2", "split.ties=file"])
    assert fits == {"MostPopular": 2, "Markov": 4}
    run(recipe, out=tmp_path, resume=False, only=["MostPopular"], set=["models.Markov.settings.window=2"])
    assert fits == {"MostPopular": 4, "Markov": 4}


def test_changed_rules_are_applied_to_the_models_that_are_there(
    recipe: Recipe, tmp_path: Path, fits: dict[str, int]
) -> None:
    run(recipe, out=tmp_path)
    board = run(recipe, out=tmp_path, set=["evaluation.at=[3, 10]", "evaluation.exclude_seen=false"]).board
    assert fits == {"MostPopular": 2, "Markov": 2}
    assert "hr@3" in board["rows"][0]["metrics"]
    assert board["about"]["seen_rule"] == "may be listed again"
    fresh = run(recipe, out=tmp_path / "fresh", set=["evaluation.at=[3, 10]", "evaluation.exclude_seen=false"]).board
    assert [row["metrics"] for row in board["rows"]] == [row["metrics"] for row in fresh["rows"]]


def test_a_part_of_the_rows_joins_what_is_there(recipe: Recipe, tmp_path: Path, fits: dict[str, int]) -> None:
    first = run(recipe, out=tmp_path, only=["Markov"])
    assert [row["label"] for row in first.board["rows"]] == ["Markov", "Markov"]
    assert first.board["comparisons"] == [], "the baseline is not there yet"
    second = run(recipe, out=tmp_path, only=["MostPopular"])
    assert len(second.board["rows"]) == 4
    assert len(second.board["comparisons"]) == 2
    assert fits == {"MostPopular": 2, "Markov": 2}


def test_a_model_that_fails_is_a_row_and_the_others_go_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: sl.Recommender, split: Split) -> None:
        raise RuntimeError("out of ideas\nand more")

    monkeypatch.setattr(Markov, "_fit", broken)
    result = run(recipe, out=tmp_path)
    assert result.failed == {"Markov": "RuntimeError: out of ideas (traceback in log.jsonl)"}
    assert result.board["winner"]["label"] == "MostPopular"
    failed = next(row for row in result.board["rows"] if row["label"] == "Markov")
    assert (failed["metrics"], failed["runs"]) == ({}, [])
    assert "RuntimeError: out of ideas" in (tmp_path / "report.html").read_text()
    assert "in broken" in (tmp_path / "log.jsonl").read_text()


def test_when_all_fail_there_is_a_board_and_no_winner(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: sl.Recommender, split: Split) -> None:
        raise DataError("no")

    run(recipe, out=tmp_path, only=["Markov"])
    monkeypatch.setattr(Markov, "_fit", broken)
    result = run(recipe, out=tmp_path, only=["Markov"], resume=False)
    assert result.board["winner"] is None
    assert not (tmp_path / "model.json").exists(), "that of an earlier winner"
    assert result.failed == {"Markov": "no"}
    assert result.table["error"].to_list() == ["no", "no"]
    with pytest.raises(DataError, match=r"no winner \(every row failed.*\); name one of its models/"):
        result.model()
    shutil.rmtree(tmp_path / "models")
    with pytest.raises(DataError, match=r"; mend what failed and start `seqlore run` again"):
        result.model()
    show_leaderboard(result.board)
    assert "no winner: every row failed" in capsys.readouterr().out
    with pytest.raises(DataError, match="this run has no winner to refit"):
        refit(tmp_path, tmp_path / "x")


def test_a_split_without_validation_cases_has_no_winner_and_its_models_stand(recipe: Recipe, tmp_path: Path) -> None:
    split = {"protocol": "ratio", "parts": (8, 0, 2)}
    plain = recipe.model_copy(update={"split": recipe.split.model_copy(update=split)})
    result = run(plain, out=tmp_path, only=["Markov"])
    assert result.board["winner"] is None
    with pytest.raises(DataError, match=r"no winner \(the split has no validation cases\); name one of its models/"):
        model_folder(tmp_path)
    (tmp_path / "leaderboard.json").write_text("{}")
    with pytest.raises(DataError, match=r"leaderboard.json: damaged; start `seqlore run` again"):
        model_folder(tmp_path)


def test_seeds_make_mean_spread_and_best(shop: Path, tmp_path: Path) -> None:
    settings = {
        "seeds": [0, 1],
        "dataset": {"path": str(shop)},
        "evaluation": {"at": [10]},
        "models": [{"model": "SASRec", "settings": NET}],
    }
    row = run(Recipe.parse(settings, "test"), out=tmp_path).board["rows"][0]
    metric = row["metrics"]["ndcg@10"]
    a, b = metric["values"]
    assert a != b
    assert metric["mean"] == pytest.approx((a + b) / 2)
    assert metric["sd"] == pytest.approx(abs(a - b) / 2**0.5)
    best = max((0, 1), key=lambda i: metric["values"][i])
    for other in ("ndcg@10", "novelty@10"):
        assert row["metrics"][other]["best"] == row["metrics"][other]["values"][best], "one run, not the best of each"
    assert [r["seed"] for r in row["runs"]] == row["seeds"] == [0, 1]
    assert row["parameters"] == sl.load(tmp_path / row["runs"][0]["model_folder"]).about["parameters"]
    log = (tmp_path / row["runs"][1]["log"]).read_text().splitlines()
    assert len(log) == row["runs"][1]["epochs"]
    assert not (tmp_path / "checkpoints").exists(), "they served their purpose"


def test_fitted_on_validation_too_for_as_many_epochs_as_it_found_best(shop: Path, tmp_path: Path) -> None:
    settings = {
        "dataset": {"path": str(shop)},
        "evaluation": {"at": [10]},
        "models": [{"model": "SASRec", "fit_on": "train+valid", "settings": NET}],
        "refit_winner": True,
    }
    row = run(Recipe.parse(settings, "test"), out=tmp_path).board["rows"][0]
    best = row["runs"][0]["best_epoch"]
    judged = sl.load(tmp_path / row["runs"][0]["model_folder"])
    assert judged.about["split"]["fitted_on"] == "train+valid"
    assert judged.config.epochs == judged.about["epochs"] == best
    assert row["valid"]["ndcg@10"] > 0, "of the fit that had not seen them"
    final = sl.load(model_folder(tmp_path))
    assert final.about["split"]["fitted_on"] == "everything"
    assert final.about["epochs"] == best
    assert refit(tmp_path, tmp_path / "again").about["epochs"] == best

    written = (tmp_path / "models" / "SASRec--file--0--everything" / "config.json").stat().st_mtime_ns
    board = run(Recipe.parse(settings, "test"), out=tmp_path).board
    assert board["winner"]["refitted"] == "models/SASRec--file--0--everything"
    assert model_folder(tmp_path).joinpath("config.json").stat().st_mtime_ns == written, "not fitted a third time"


def test_what_validation_stopped_once_is_not_fitted_to_that_end_again(shop: Path, tmp_path: Path) -> None:
    both = [
        {"model": "SASRec", "label": "stopped", "settings": NET},
        {"model": "SASRec", "label": "told all", "fit_on": "train+valid", "settings": NET},
        {"model": "SASRec", "label": "another", "fit_on": "train+valid", "settings": NET | {"dropout": 0.1}},
    ]
    settings = {"dataset": {"path": str(shop)}, "evaluation": {"at": [10]}, "models": both[1:]}
    alone = run(Recipe.parse(settings, "test"), out=tmp_path / "alone").board
    shared = run(Recipe.parse(settings | {"models": both}, "test"), out=tmp_path / "shared").board
    by_label = [{row["label"]: row for row in board["rows"]} for board in (alone, shared)]
    for label, log in (("told all", "logs/stopped--file--0.jsonl"), ("another", "logs/another--file--0.jsonl")):
        (one,), (other,) = (rows[label]["runs"] for rows in by_label)
        assert other["log"] == log
        assert (one["best_epoch"], one["epochs"]) == (other["best_epoch"], other["epochs"])
        models = [sl.load(tmp_path / name / r["model_folder"]) for name, r in (("alone", one), ("shared", other))]
        for a, b in zip(*(model.net.parameters() for model in models), strict=True):
            assert a.equal(b)
        assert by_label[0][label]["valid"] == by_label[1][label]["valid"]
    assert by_label[1]["told all"]["fit_seconds"] > by_label[1]["stopped"]["fit_seconds"], "of both fits"

    again = run(
        Recipe.parse(settings | {"models": both}, "test"), out=tmp_path / "shared", resume=False, only=["told all"]
    )
    told = next(row for row in again.board["rows"] if row["label"] == "told all")
    assert told["runs"][0]["log"] == "logs/told-all--file--0.jsonl", "without resume nothing earlier is relied on"


def test_a_dataset_that_is_not_there(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*absent; make it with `seqlore data import`"):
        run(recipe, out=tmp_path, set=[f"dataset.path={tmp_path / 'absent'}"])


def test_filters_are_applied_and_told(recipe: Recipe, tmp_path: Path) -> None:
    changes = ["dataset.k_core=5", "dataset.min_rating=3", "dataset.min_length=6", "dataset.duplicates=first"]
    board = run(recipe, out=tmp_path, set=changes, only=["MostPopular"]).board
    told = " | ".join(board["about"]["statistics"]["filters"])
    order = [told.index(word) for word in ("rating >= 3", "duplicates: first", "k-core user=5", "user length >= 6")]
    assert order == sorted(order)


def test_a_winner_outside_the_run_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"folder": "../elsewhere"}')
    with pytest.raises(DataError, match="lies outside the run folder"):
        model_folder(tmp_path)


@pytest.mark.parametrize("damaged", ["", "{", "[1]", "{}", '{"folder": 3}'])
def test_a_damaged_winner_is_one_sentence(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "model.json").write_text(damaged)
    with pytest.raises(DataError, match=r"model.json: damaged, so it names no model; start `seqlore run` again"):
        model_folder(tmp_path)


def test_the_journal_forgets_a_trial_that_was_begun_again(tmp_path: Path) -> None:
    pl.DataFrame({"rank": [1]}).write_parquet(tmp_path / "cases")
    saved = MostPopular().fit(leave_one_out(simulate(users=20, items=60, seed=1))).save(tmp_path / "model")
    journal = Journal(tmp_path)
    key = {"label": "a", "ties": "file", "seed": 0}
    journal.write("trial", **key, cases="cases", model_folder="model")
    assert list(journal.finished()) == [("a", "file", 0)]
    journal.write("begin", **key)
    assert journal.finished() == {}
    journal.write("trial", **key, cases="cases", model_folder="gone")
    assert journal.finished() == {}, "its model is not there"
    journal.write("trial", **key, cases="cases", model_folder="model")
    with journal.path.open("ab") as file:
        file.write(b'\xff{"step": "trial"\n[1]\n{"step": "begin", "label": ["L"], "ties": "file", "seed": "x"}\n')
    assert list(journal.finished()) == [("a", "file", 0)], "lines that are damaged are passed over"
    (saved / "model.safetensors").unlink()
    assert journal.finished() == {}, "its model is not whole"


def test_damaged_files_of_a_finished_trial_are_made_again(recipe: Recipe, tmp_path: Path, fits: dict[str, int]) -> None:
    first = run(recipe, out=tmp_path).board
    damaged = tmp_path / "cases" / "Markov--file--0.parquet"
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = run(recipe, out=tmp_path).board
    assert fits == {"MostPopular": 2, "Markov": 3}
    assert [row["metrics"] for row in again["rows"]] == [row["metrics"] for row in first["rows"]]


def test_text_sources_are_found_at_any_depth() -> None:
    parts = [{"model": "LLM2SASRec", "settings": {"item_init": {"fields": ["brand"]}}}, {"model": "LLMSeqSim"}]
    found = list(text_sources(Blend(models=parts).config))
    assert [source.fields for source in found] == [("brand",), ("title",)]
    assert list(text_sources(SASRec().config)) == []


def test_what_validation_chose_for_a_blend_is_kept(shop: Path) -> None:
    split = sl.leave_one_out(sl.Dataset.load(shop))
    blend = Blend(models=[{"model": "SASRec", "settings": NET}, {"model": "Markov"}]).fit(split)
    chosen = chosen_on_validation(blend)["models"]
    assert [part["weight"] for part in chosen] == blend.about["weights"]
    assert chosen[0]["settings"]["epochs"] == blend.children()["part-00"].about["best_epoch"]
    Blend(models=chosen).fit(split.with_everything())


def test_bootstrap_intervals() -> None:
    rng = np.random.default_rng(1)
    hits = (rng.random(4000) < 0.2).astype(float)
    (constant, span) = bootstrap(np.stack([np.ones(4000), hits], axis=1), samples=2000)
    assert constant.tolist() == [1, 1]
    half = 1.96 * (0.2 * 0.8 / 4000) ** 0.5
    assert span == pytest.approx([hits.mean() - half, hits.mean() + half], abs=0.1 * half)


def test_peak_memory_sees_an_array_that_comes_and_goes() -> None:
    with PeakMemory() as before:
        pass
    with PeakMemory() as memory:
        np.ones(40_000_000 // 2).sum()
    assert memory.mb - before.mb > 100
