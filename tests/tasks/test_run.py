"""A task recipe from file to figures: every kind of row, faults in one sentence, the verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from seqlore.cli import app
from seqlore.errors import ConfigError, DataError
from seqlore.tasks.recipe import MODELS, TaskRecipe
from seqlore.tasks.rows import digest, fit_digest
from seqlore.tasks.run import paired, run_tasks, table
from seqlore.tasks.scores import Scores
from toys import make_dataset

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "papers").glob("recsysllm-*.toml"))

SMALL = """
name = "small"
seeds = [0, 1]
baseline = "GlobalMean"
published_source = "a paper"

[dataset]
path = "{folder}"

[material]
candidates = 4

[evaluation]
wrong = 4
at = [1, 2]

[[models]]
model = "GlobalMean"
published = {{ rating = {{ rmse = 1.5 }} }}

[[models]]
model = "Biases"

[[models]]
model = "Popularity"

[[models]]
model = "MostPopular"

[[models]]
model = "PETERPlus"
settings = {{ size = 8, epochs = 1, device = "cpu" }}

[[models]]
model = "BPRMF"
settings = {{ size = 8, epochs = 1, device = "cpu" }}

[[models]]
label = "small GLM"
model = "TaskGLM"

[models.settings]
start = "random"
epochs = 1
device = "cpu"
pretraining = {{ shape = "nano", vocabulary = 400, context = 16 }}

[[published]]
label = "P5 (paper)"
values = {{ "rating seen" = {{ rmse = 9.0 }} }}
note = "cannot be"
"""


@pytest.fixture
def recipe(tmp_path: Path, tasks) -> Path:
    tasks.split.dataset.save(tmp_path / "data")
    path = tmp_path / "small.toml"
    path.write_text(SMALL.format(folder=tmp_path / "data"))
    return path


def test_every_row_is_judged_on_what_it_can_answer(recipe: Path, tmp_path: Path):
    result = run_tasks(recipe, out=tmp_path / "out")
    rows = {row["label"]: row for row in result["rows"] if row["seed"] == 1}
    assert {label: set(row["families"]) for label, row in rows.items()} == {
        "GlobalMean": {"rating"}, "Biases": {"rating"}, "Popularity": {"direct"}, "MostPopular": {"sequential"},
        "PETERPlus": {"explanation"}, "BPRMF": {"direct"}, "small GLM": set(),
    }  # fmt: skip
    assert "lower candidates or title_words" in rows["small GLM"]["error"], "a row that fails is told, the others go on"
    assert set(rows["PETERPlus"]["families"]["explanation"]) == {"hint"}
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == result
    frame = pl.read_csv(tmp_path / "out" / "results.csv")
    line = frame.filter((pl.col("label") == "GlobalMean") & (pl.col("metric") == "rmse")).row(0, named=True)
    assert line["published"] == 1.5
    assert line["sd"] == 0.0, "there is no chance in a mean"
    alone = frame.filter(pl.col("label") == "P5 (paper)").row(0, named=True)
    assert (alone["way"], alone["value"], alone["published"]) == ("seen", None, 9.0)
    assert [(t["label"], t["family"], t["metric"]) for t in result["tests"]] == [("Biases", "rating", "squared_error")]
    assert 0 < result["tests"][0]["p"] <= result["tests"][0]["p_holm"] <= 1
    cases = pl.read_parquet(tmp_path / "out" / "cases" / "Biases-0.parquet")
    squared = cases.filter(pl.col("metric") == "squared_error")["value"]
    mine = table(result).filter((pl.col("label") == "Biases") & (pl.col("metric") == "rmse"))["value"][0]
    assert squared.mean() ** 0.5 == pytest.approx(mine)


def test_a_run_goes_on_where_it_was(recipe: Path, tmp_path: Path):
    lines: list[str] = []
    changes, folder = ["seeds=[0]", 'evaluation.families=["rating"]'], tmp_path / "out"
    first = run_tasks(recipe, out=folder, set=changes, only=["Biases"], say=lines.append)
    assert [row["label"] for row in first["rows"]] == ["Biases"]
    second = run_tasks(recipe, out=folder, set=[*changes, "models.Biases.label=Both biases"], say=lines.append)
    assert lines[1].startswith("GlobalMean, seed 0")
    third = run_tasks(recipe, out=folder, set=changes, only=["GlobalMean"], say=lines.append)
    assert [row["label"] for row in third["rows"] if "error" not in row][:2] == ["GlobalMean", "Biases"]
    assert "Biases, seed 0: kept" in lines
    assert third["tests"] == [t | {"label": "Biases"} for t in second["tests"]], "kept cases are the same cases"
    lines.clear()
    run_tasks(recipe, out=folder, set=[*changes, "models.Biases.settings.user_damping=1"], say=lines.append)
    assert "Biases, seed 0: kept" not in lines
    with pytest.raises(ConfigError, match="there is no row 'Bias' in small; did you mean 'Biases'"):
        run_tasks(recipe, out=folder, set=changes, only=["Bias"])


def test_a_row_that_breaks_is_told_and_the_others_go_on(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_) -> None:
        raise RuntimeError("out of memory\nat length")

    monkeypatch.setattr("seqlore.tasks.baselines.ratings.GlobalMean.fit", broken)
    changes, folder = ["seeds=[0]", 'evaluation.families=["rating"]'], tmp_path / "out"
    result = run_tasks(recipe, out=folder, set=changes, only=["GlobalMean", "Biases"])
    first, second = result["rows"]
    assert first["error"] == "RuntimeError: out of memory (traceback in log.jsonl)"
    assert "error" not in second
    assert "in broken" in (folder / "log.jsonl").read_text()
    monkeypatch.undo()
    again = run_tasks(recipe, out=folder, set=changes, only=["GlobalMean"])
    assert "error" not in again["rows"][0], "it is carried out again"


def test_what_a_name_stands_for_is_part_of_a_row(recipe: Path, tmp_path: Path):
    prompts, weights = tmp_path / "rating.toml", tmp_path / "body"
    prompts.write_text("a")
    weights.mkdir()
    (weights / "model.safetensors").write_text("w")
    changes = ["evaluation.prompts.rating", "models.TaskGLM.settings.base_model", "models.TaskGLM.settings.start"]
    values = [f'"{prompts}"', f'"{weights}"', '"pretrained"']
    plain = TaskRecipe.load(recipe, [f"{key}={value}" for key, value in zip(changes, values, strict=True)])

    def digests() -> list[tuple[str, str]]:
        rows = [row for row in plain.models if row.name in ("GlobalMean", "small GLM")]
        return [(digest(plain, row, 0, "data"), fit_digest(plain, row, 0, "data")) for row in rows]

    before = digests()
    assert digests() == before
    prompts.write_text("bb")
    (mean, mean_fit), (_, glm_fit) = digests()
    assert mean != before[0][0]
    assert (mean_fit, glm_fit) == (before[0][1], before[1][1]), "how it is asked does not change what is fitted"
    (weights / "model.safetensors").write_text("other")
    assert digests()[1][1] != glm_fit
    assert digests()[0][1] == mean_fit


def test_a_task_model_is_kept_and_judged_again_without_a_fit(recipe: Path, tmp_path: Path):
    changes = ["seeds=[0]", 'evaluation.families=["rating"]', 'models.TaskGLM.settings.mixture.ratios={rating=0.5}',
               'models.TaskGLM.settings.pretraining.context=160']  # fmt: skip
    folder, lines = tmp_path / "out", []
    first = run_tasks(recipe, out=folder, set=changes, only=["small GLM"])["rows"][-1]
    (model,) = (folder / "models").iterdir()
    assert {p.name for p in model.iterdir()} == {"config.json", "model.safetensors", "log.jsonl", "fit.json"}
    assert first["cut"] == {"learned": {}, "asked": {}}
    made = (model / "config.json").stat().st_mtime_ns
    again = run_tasks(recipe, out=folder, set=[*changes, "evaluation.cases=6"], only=["small GLM"], say=lines.append)
    assert "small GLM, seed 0: kept" not in lines
    assert (model / "config.json").stat().st_mtime_ns == made
    assert set(again["rows"][-1]["families"]) == {"rating"}


def test_data_without_what_a_family_asks_for_is_told_at_once(recipe: Path, tmp_path: Path):
    plain = make_dataset({f"u{u}": list("abcdef") for u in range(3)}, rating=[3.0] * 18)
    plain.save(tmp_path / "plain")
    sentence = "no interaction has a 'review'.*leave 'explanation' out of evaluation.families, and of mixture.ratios"
    with pytest.raises(DataError, match=sentence):
        run_tasks(recipe, out=tmp_path / "out", set=[f'dataset.path="{tmp_path / "plain"}"'])


def test_tests_compare_like_with_like():
    def one(**ways: list[float]) -> dict:
        return {"direct": {way: Scores({}, {"ndcg@1": np.zeros(40), "ndcg@10": np.array(v * 20)}) for way, v in
                           ways.items()}}  # fmt: skip

    cases = {"a": [one(**{"": [0.0, 0.5]})], "b": [one(seen=[0.5, 1.0], unseen=[0.0, 0.5]), one(seen=[0.5, 0.0],
             unseen=[0.0, 0.5])], "failed": [{}]}  # fmt: skip
    found = {t["way"]: t for t in paired(cases, "a")}
    assert set(found) == {"seen", "unseen"}
    assert found["seen"]["metric"] == "ndcg@10"
    assert found["seen"]["difference"] == 0.25, "the mean over seeds is 0.5 and 0.5"
    assert found["unseen"]["difference"] == 0.0
    assert found["unseen"]["p"] == 1.0
    assert found["seen"]["p"] < 0.01
    assert paired(cases, None) == []
    cases = {
        "prompted": [one(seen=[0.0, 0.5], scrambled=[0.0, 0.0], unseen=[0.5, 0.5])],
        "plain": [one(**{"": [0.5, 1.0]})],
    }
    found = {(t["label"], t["way"]): t for t in paired(cases, "prompted")}
    assert {key: (t["baseline"], t["difference"]) for key, t in found.items()} == {
        ("prompted", "scrambled"): ("prompted, in order", -0.5),
        ("plain", ""): ("prompted", 0.5),
    }
    lists = {
        label: [{"direct": {way: Scores({"listed": n}, {"ndcg@10": np.zeros(4)}) for way, n in ways.items()}}]
        for label, ways in {"of all": {"": 100.0}, "shown": {"seen": 100.0, "candidates seen": 20.0}}.items()
    }
    assert [t["way"] for t in paired(lists, "of all")] == ["seen"], "a list of 20 is another task"


def test_the_verb_prints_both_columns_and_fails_with_the_row(recipe: Path, tmp_path: Path):
    changes = ["--set", "seeds=[0]", "--set", 'evaluation.families=["rating"]']
    done = CliRunner().invoke(app, ["tasks", "run", str(recipe), "--out", str(tmp_path / "out"), *changes])
    assert done.exit_code == 1
    assert "rating" in done.output
    assert "1.5000" in done.output
    assert "small GLM failed" in done.output
    assert "P5 (paper): cannot be" in done.output


def test_faults_name_the_key(recipe: Path):
    for change, sentence in (
        ("models.Biases.model=Biasses", "there is no model 'Biasses'; did you mean 'Biases'"),
        ("models.BPRMF.settings.sise=3", "unknown setting 'sise'; did you mean 'size'"),
        ("models.BPRMF.settings.seed=3", "write seeds"),
        ("models.Popularity.settings.size=3", "Popularity has no settings"),
        ("models.Popularity.label=Biases", "two rows are called 'Biases'"),
        ('split.ties=["file", "shuffled"]', "give one tie rule"),
        ("baseline=Biasses", "baseline 'Biasses' is no row; did you mean 'Biases'"),
        ("evaluation.familes=[]", "did you mean 'families'"),
    ):
        with pytest.raises(ConfigError, match="(?s)" + sentence.replace("(", r"\(")):
            TaskRecipe.load(recipe, [change])
    zero = {"model": "ZeroShot", "settings": {}}
    with pytest.raises(ConfigError, match="language_model"):
        TaskRecipe.parse({"dataset": {"path": "x"}, "models": [zero]}, "r").models[0].build(0)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_of_the_paper_are_valid(path: Path):
    recipe = TaskRecipe.load(path)
    assert recipe.name == path.stem
    assert recipe.published
    assert recipe.published_source


def test_there_is_a_recipe_for_each_table():
    wanted = {"sequential", "rating", "direct", "explanation", "review", "candidates"}
    assert {p.stem.removeprefix("recsysllm-") for p in RECIPES} == wanted


def test_every_model_is_there():
    from seqlore.recommender import named

    for entry in MODELS.values():
        assert named(entry.target)
        assert not entry.config or named(entry.config)
