"""``seqlore tune``: from a dataset folder, from a recipe, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from seqlore.experiment import Recipe


def test_a_dataset_and_a_model_are_tuned(cli: Callable, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    options = ("--trials", 3, "--out", out, "--set", "window=2", "--set", "seed=4", "--metric", "hr@3")
    done = cli("tune", shop, "Markov", *options)
    assert done.status == 0
    assert "prior" in done.out
    assert "3 trials (3 complete" in done.out
    assert f"seqlore run {out / 'best.toml'}" in done.out
    assert "trial 2" in done.err
    recipe = Recipe.load(out / "best.toml")
    assert [row.settings["window"] for row in recipe.models] == [2, 2]
    assert recipe.evaluation.metric == "hr@3"
    again = cli("tune", shop, "Markov", *options, "--json")
    assert "3 trials are finished already" in again.err
    told = json.loads(again.out)
    assert told["best"]["settings"].keys() == {"prior"}
    assert cli("run", out / "best.toml", "--out", tmp_path / "run").status == 0


def test_a_row_of_a_recipe_is_tuned(cli: Callable, shop: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    rows = '[[models]]\nmodel = "Markov"\n[[models]]\nmodel = "ItemKNN"\nlabel = "knn"\n'
    path.write_text(f'name = "own"\n[dataset]\npath = "{shop}"\n{rows}')
    done = cli("tune", path, "--only", "knn", "--trials", 1, "--keep", "k", "--out", tmp_path / "study", "--json")
    assert done.status == 0
    assert json.loads(done.out)["best"]["settings"].keys() == {"similarity", "shrinkage", "alpha"}


def test_what_it_refuses_is_one_sentence(cli: Callable, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "space.toml").write_text("[Markov]\nwindw = { low = 1, high = 2 }")
    for arguments, said in (
        ((shop,), "name a DATASET folder and a MODEL"),
        ((shop, "Markof"), "did you mean 'Markov'"),
        ((shop, "MostPopular"), "no search space for MostPopular"),
        ((shop, "Markov", "--space", tmp_path / "space.toml"), "unknown setting 'windw'; did you mean 'window'"),
        ((shop, "Markov", "--metric", "novelty@5"), "is no accuracy of each case"),
        ((shop, "Markov", "--keep", "windw"), "unknown setting 'windw'; did you mean 'window'"),
        ((tmp_path / "none.toml", "Markov"), "is a recipe: name its row with --only Markov"),
        ((tmp_path / "none.toml",), "cannot be read"),
        ((tmp_path / "nowhere", "Markov"), "there is no folder"),
    ):
        done = cli("tune", *arguments, "--out", tmp_path / "study")
        assert done.status == 2
        assert said in done.err
        assert len(done.err.strip().splitlines()) == 1
