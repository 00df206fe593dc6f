"""Raters: solved by hand, and a world of factors in which they must find them."""

from __future__ import annotations

import numpy as np
import pytest

from seqlore.data import leave_one_out
from seqlore.tasks.averages import Averages
from seqlore.tasks.baselines.ratings import (
    MF,
    MLP,
    Biases,
    BiasesConfig,
    FactorConfig,
    GlobalMean,
    ToldNumbers,
    _Factors,
)
from seqlore.tasks.scores import rating_scores
from seqlore.tasks.split import TaskSplit, one_split
from toys import make_dataset


@pytest.fixture(scope="module")
def crossed() -> TaskSplit:
    """Two kinds of users and of items: like likes like (5), unlike not (1). Biases know nothing of it."""
    rng = np.random.default_rng(0)
    histories = {f"u{u}": [f"i{i}" for i in rng.permutation(20)[:16]] for u in range(40)}
    stars = [5.0 if (int(u[1:]) + int(i[1:])) % 2 else 1.0 for u, items in histories.items() for i in items]
    return one_split(leave_one_out(make_dataset(histories, rating=stars)))


def rmse(rater, tasks: TaskSplit) -> float:
    return rating_scores(rater.fit(tasks).rate(tasks.test), tasks.ratings[tasks.test.rows]).values["rmse"]


def test_mean_and_biases_by_hand():
    # Training: u gives a 2 and b 4, v gives a 4 and b 4; the last two events of each are held out.
    tasks = one_split(
        leave_one_out(
            make_dataset({"u": ["a", "b", "c", "d"], "v": ["a", "b", "d", "c"]}, rating=[2.0, 4, 5, 5, 4, 4, 1, 1])
        )
    )
    assert GlobalMean().fit(tasks).rate(tasks.test).tolist() == [3.5, 3.5]
    model = Biases(BiasesConfig(user_damping=0, item_damping=0, rounds=50)).fit(tasks)
    a, b = tasks.split.catalog.index(["a", "b"])
    u, v = tasks.split.users.index(["u", "v"])
    # A full table: effects are differences of means. Rows 3 and 4, columns 3 and 4, mean 3.5.
    assert model.users[[u, v]] == pytest.approx([-0.5, 0.5])
    assert model.items[[a, b]] == pytest.approx([-0.5, 0.5])
    assert model.rate(tasks.test) == pytest.approx([3.0, 4.0]), "c and d are unknown: the mean of the user"
    damped = Biases(BiasesConfig(user_damping=2, item_damping=2, rounds=1)).fit(tasks)
    assert damped.items[[a, b]] == pytest.approx([-0.25, 0.25]), "half way: two ratings, two of the mean"


@pytest.mark.parametrize("kind", [MF, MLP])
def test_factors_find_what_biases_cannot(crossed: TaskSplit, kind: type[_Factors]):
    config = FactorConfig(size=8, batch_size=64, epochs=16, patience=16, warmup_steps=5, learning_rate=0.04, seed=1,
                          device="cpu")  # fmt: skip
    assert rmse(Biases(), crossed) > 1.9
    model = kind(config)
    assert rmse(model, crossed) < 0.9
    assert np.isfinite(model.rate(crossed.test.take(slice(1)))).all()


def test_what_prompts_tell_of_like_items_is_worth_what_factors_are(crossed: TaskSplit):
    assert rmse(ToldNumbers(), crossed) < 0.9
    told = Averages(crossed).of(crossed.test)
    assert abs(told.user).max() < 1.0, "averages say nothing here"
    assert (np.sign(told.alike) == np.sign(crossed.ratings[crossed.test.rows] - 3)).mean() > 0.9


def test_regularisation_draws_guesses_to_the_mean(crossed: TaskSplit):
    settings = {
        "size": 8,
        "batch_size": 64,
        "epochs": 8,
        "patience": 8,
        "warmup_steps": 1,
        "learning_rate": 0.04,
        "device": "cpu",
    }
    free = MF(FactorConfig(**settings)).fit(crossed).rate(crossed.test)
    held = MF(FactorConfig(**settings, regularisation=50, bias_regularisation=50)).fit(crossed).rate(crossed.test)
    assert held.std() < free.std() / 2
    again = MF(FactorConfig(**settings)).fit(crossed)
    assert again.rate(crossed.test).tolist() == free.tolist()
    assert again.rate(crossed.test.take(slice(2, 3))).tolist() == pytest.approx(free[2:3].tolist())
