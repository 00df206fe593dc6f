"""Searches: what they find and write, that they end, go on, refuse, and never see the test part."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filelock import FileLock
from polars.testing import assert_frame_equal

from seqlore.data import Dataset
from seqlore.errors import ConfigError, MissingExtraError, SeqloreError
from seqlore.experiment import Recipe
from seqlore.recommender import model_class
from seqlore.tuning import Search, TuneResult, study, tune, worker

Make = Callable[..., Recipe]
QUICK = Search(trials=6, starts=3)


def tried(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("seconds", "started")


@pytest.fixture(scope="module")
def found(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> TuneResult:
    rows = [{"model": "Markov"}]
    given = {"name": "toy", "dataset": {"path": str(shop)}, "split": {"protocol": "temporal-sessions"}, "models": rows}
    return tune(Recipe.parse(given, "toy"), QUICK, out=tmp_path_factory.mktemp("found"))


def test_a_search_finds_the_best_trial_and_writes_a_recipe_of_it(found: TuneResult) -> None:
    frame = found.trials
    assert frame["trial"].to_list() == list(range(6))
    done = frame.filter(pl.col("state") == "complete")
    assert found.value == done["value"].max()
    best = done.sort("value", "trial", descending=[True, False]).row(0, named=True)
    assert found.settings == {"prior": best["prior"], "window": best["window"]}
    assert best["value"] == pytest.approx(sum(best[f"fold {i}"] for i in (1, 2, 3)) / 3)
    assert found.summary["trials"] == {"complete": len(done), "pruned": 6 - len(done), "failed": 0}
    assert found.summary["ended_by"] == "6 trials"
    plain, tuned = Recipe.load(found.folder / "best.toml").models
    assert (plain.label, tuned.label) == ("Markov", "Markov (tuned)")
    assert tuned.config.model_dump() == plain.config.model_dump() | found.settings
    assert pl.read_csv(found.folder / "trials.csv").height == 6


def test_the_best_may_have_no_value_where_the_default_has(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text("[VSKNN]\nlast_n_items = { low = 1, high = 1, or_none = true }\n")
    data = {"dataset": {"path": str(shop)}, "split": {"protocol": "temporal-sessions"}}
    recipe = Recipe.parse({"name": "toy", **data, "models": [{"model": "VSKNN"}]}, "toy")
    search = Search(trials=6, starts=6)
    kept = [key for key in model_class("VSKNN").Config.model_fields if key != "last_n_items"]
    result = tune(recipe, search, out=tmp_path / "out", space=[tmp_path / "space.toml"], keep=kept)
    tried = dict(result.trials.select(pl.col("last_n_items").fill_null(-1), "value").iter_rows())
    assert tried[-1] > tried[1], "or this tests nothing"
    assert [row.config.model_dump()["last_n_items"] for row in Recipe.load(result.folder / "best.toml").models] == [
        5,
        None,
    ]


def test_one_seed_has_one_search_and_another_seed_another(found: TuneResult, recipe: Make, tmp_path: Path) -> None:
    again = tune(recipe(), QUICK, out=tmp_path / "b").trials
    other = tune(recipe(), QUICK.model_copy(update={"seed": 1, "trials": 2}), out=tmp_path / "c").trials
    assert_frame_equal(tried(found.trials), tried(again))
    assert found.trials["prior"].to_list()[:2] != other["prior"].to_list()


def test_a_killed_search_goes_on_and_repeats_no_finished_fold(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = QUICK.model_copy(update={"prune": 0.0})
    whole = tune(recipe(), search, out=tmp_path / "whole").trials
    judged, real = [], worker.judge

    def judge(*args: Any, **options: Any) -> dict[str, Any]:
        if len(judged) == 8:  # in the third fold of the third trial
            judged.append("killed")
            raise KeyboardInterrupt
        judged.append("fold")
        return real(*args, **options)

    monkeypatch.setattr(worker, "judge", judge)
    with pytest.raises(KeyboardInterrupt):
        tune(recipe(), search, out=tmp_path / "cut")
    assert pl.read_parquet(tmp_path / "cut" / "trials.parquet").height == 2
    result = tune(recipe(), search, out=tmp_path / "cut")
    assert_frame_equal(tried(result.trials), tried(whole))
    assert judged.count("fold") == 6 * 3
    more = tune(recipe(), search.model_copy(update={"trials": 7}), out=tmp_path / "cut")
    assert_frame_equal(tried(more.trials.head(6)), tried(whole))
    assert more.trials.height == 7


def test_a_trial_that_kills_the_search_is_given_up(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = worker.judge, []

    def judge(*args: Any, **options: Any) -> dict[str, Any]:
        calls.append(1)
        if len(calls) <= 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(worker, "judge", judge)
    monkeypatch.setattr(worker, "LIVES", 2)
    search = QUICK.model_copy(update={"trials": 2})
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(recipe(), search, out=tmp_path)
    result = tune(recipe(), search, out=tmp_path)
    assert result.trials["state"].to_list() == ["failed", "complete"]
    assert "killed 2 times" in result.trials["error"][0]


def test_what_is_held_out_for_the_test_changes_no_trial(
    recipe: Make, shop: Path, shop_data: Dataset, tmp_path: Path
) -> None:
    events = shop_data.interactions.with_row_index("row")
    last = events.sort("user_id", "timestamp", "row").group_by("user_id").last()["row"].implode()
    other = pl.when(pl.col("row").is_in(last)).then(pl.lit(shop_data.items["item_id"][0])).otherwise(pl.col("item_id"))
    changed = events.with_columns(item_id=other).drop("row")
    Dataset.from_frames(changed, shop_data.items, name="changed").save(tmp_path / "changed")
    frames = [
        tune(recipe(protocol="leave-one-out", path=path), QUICK, out=tmp_path / f"study-{i}").trials
        for i, path in enumerate((shop, tmp_path / "changed"))
    ]
    assert_frame_equal(tried(frames[0]), tried(frames[1]))


def test_patience_and_time_end_a_search(recipe: Make, tmp_path: Path) -> None:
    space = tmp_path / "one.toml"
    space.write_text('[Markov]\nprior = "keep"\nwindow = { choices = [1] }')
    result = tune(recipe(), Search(patience=3), out=tmp_path / "a", space=[space])
    assert result.summary["ended_by"] == "3 trials without a better one"
    assert result.trials.height == 4  # the first is never bettered
    with pytest.raises(ConfigError, match="no trial was completed"):
        tune(recipe(), Search(hours=1e-9), out=tmp_path / "b")


def test_a_trial_that_fails_is_told_and_the_others_go_on(recipe: Make, tmp_path: Path) -> None:
    space = tmp_path / "own.toml"
    space.write_text('[SKNN]\nsimilarity = { choices = ["cosine", "jaccard"] }')  # VSKNN weighs items; jaccard does not
    result = tune(recipe("VSKNN"), QUICK, out=tmp_path / "a", space=[space])
    failed = result.trials.filter(pl.col("state") == "failed")
    assert 0 < failed.height < 6
    assert failed["similarity"].unique().to_list() == ["jaccard"]
    assert "compares sets" in failed["error"][0]
    space.write_text('[SKNN]\nsimilarity = { choices = ["jaccard"] }')
    with pytest.raises(ConfigError, match=r"no trial was completed; the first failed: .*compares sets"):
        tune(recipe("VSKNN"), Search(), out=tmp_path / "b", space=[space])


@pytest.mark.slow
def test_several_workers_share_one_study(recipe: Make, tmp_path: Path) -> None:
    result = tune(recipe(), Search(trials=5, starts=3, workers=2), out=tmp_path)
    assert sum(result.summary["trials"].values()) == 5
    assert result.trials["trial"].to_list() == list(range(5))
    assert result.trials.select("prior").n_unique() == 5


def test_the_trial_of_a_worker_that_died_counts_as_none(recipe: Make, tmp_path: Path) -> None:
    made = recipe()
    job = worker.Job(tmp_path, made, study.space_for("Markov"), Search(trials=1), None)
    begun = job.study()
    trial = begun.ask()
    trial.set_user_attr("worker", 1234)
    assert worker.stop(begun, job) == "1 trials"
    worker.bury(begun, {1})
    assert worker.stop(begun, job) == "1 trials", "another worker's is under way"
    worker.bury(begun, {1234})
    assert worker.stop(begun, job) is None
    assert not worker.ended(begun)


def test_the_database_holds_numbers_and_text_only(found: TuneResult) -> None:
    database = sqlite3.connect(found.folder / "study.db")
    kinds = set()
    for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
        for _, column, *_ in database.execute(f"pragma table_info({table})").fetchall():
            kinds |= {kind for (kind,) in database.execute(f'select distinct typeof("{column}") from {table}')}
    assert kinds <= {"integer", "real", "text", "null"}


def test_another_study_in_the_folder_is_refused(recipe: Make, tmp_path: Path) -> None:
    tune(recipe(), QUICK.model_copy(update={"trials": 1}), out=tmp_path)
    before = (tmp_path / "trials.csv").read_bytes()
    with pytest.raises(ConfigError, match="begun with another search"):
        tune(recipe(), QUICK.model_copy(update={"seed": 1}), out=tmp_path)
    with pytest.raises(ConfigError, match="begun with another settings and space"):
        tune(recipe(window=2), QUICK, out=tmp_path, keep=["window"])
    with FileLock(tmp_path / "study.lock"), pytest.raises(ConfigError, match="another search works on this study"):
        tune(recipe(), QUICK, out=tmp_path)
    assert (tmp_path / "trials.csv").read_bytes() == before


@pytest.mark.parametrize("name", ["study.json", "study.db"])
def test_a_damaged_study_is_one_sentence_and_stays_as_it_is(recipe: Make, tmp_path: Path, name: str) -> None:
    tune(recipe(), QUICK.model_copy(update={"trials": 1}), out=tmp_path)
    for log in tmp_path.glob("study.db-*"):  # from which SQLite would restore it
        log.unlink()
    (tmp_path / name).write_bytes(b"[1, no study" * 1000)
    with pytest.raises(SeqloreError, match=rf"{name}: .*restore it from a copy, or name another --out"):
        tune(recipe(), QUICK, out=tmp_path)
    assert (tmp_path / name).read_bytes() == b"[1, no study" * 1000


def test_the_row_must_be_named_where_there_are_several(recipe: Make, tmp_path: Path) -> None:
    rows = recipe().model_dump(mode="json", exclude_none=True)
    rows["models"] = [{"model": "Markov"}, {"model": "Markov", "label": "second", "settings": {"window": 2}}]
    several = Recipe.parse(rows, "several")
    with pytest.raises(ConfigError, match="has 2 rows: name the one to tune with --only"):
        tune(several, QUICK, out=tmp_path)
    with pytest.raises(ConfigError, match="no row 'secnd'; did you mean 'second'"):
        tune(several, QUICK, only="secnd", out=tmp_path)
    result = tune(several, Search(trials=1), only="second", out=tmp_path, keep=["window"])
    assert result.settings.keys() == {"prior"}
    tuned = Recipe.load(tmp_path / "best.toml").models[1]
    assert (tuned.label, tuned.config.window) == ("second (tuned)", 2)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="nothing to tune"):
        tune(several, QUICK, only="second", out=tmp_path, keep=["window", "prior"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"metric": "coverage@10"}, "is no accuracy of each case"),
        ({"metric": "ndgc@20"}, "did you mean|ndgc"),
        ({"trails": 5}, "did you mean 'trials'"),
        ({"prune": 1.0}, "prune"),
    ],
)
def test_wrong_rules_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Search.parse(settings, "search")


def test_without_optuna_the_extra_is_named(recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seqlore\[tune\]'"):
        tune(recipe(), QUICK)
