"""A small shop, and recipes of one row that are tuned in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqlore.data import Dataset
from seqlore.data.simulate import simulate
from seqlore.experiment import Recipe


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(users=60, items=40, interactions_per_user=7, seed=3).save(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def shop_data(shop: Path) -> Dataset:
    return Dataset.load(shop)


@pytest.fixture
def recipe(shop: Path) -> Callable[..., Recipe]:
    def make(model: str = "Markov", protocol: str = "temporal-sessions", path: Path = shop, **settings: Any) -> Recipe:
        rows = [{"model": model, "settings": settings}]
        given = {"name": "toy", "dataset": {"path": str(path)}, "split": {"protocol": protocol}, "models": rows}
        return Recipe.parse(given, "toy")

    return make
