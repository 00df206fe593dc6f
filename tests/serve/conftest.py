"""A served shop for all tests: a run folder with three models, a net on frozen text vectors, a two-stage model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from fastapi.testclient import TestClient

from seqlore.data import Split, leave_one_out
from seqlore.data.simulate import simulate
from seqlore.experiment import Recipe, run
from seqlore.models import MostPopular, SASRec  # type: ignore[attr-defined]
from seqlore.rerank.candidates import Uniform
from seqlore.rerank.prm import PRM
from seqlore.rerank.two_stage import TwoStage
from seqlore.serve.app import create_app
from seqlore.serve.settings import ServeSettings

NET = {"embedding_size": 8, "max_length": 6, "layers": 1, "heads": 1, "epochs": 1}
HOSTS = ("testserver", "127.0.0.1", "localhost")


@pytest.fixture(scope="session")
def split() -> Split:
    """Of a small shop, to learn from."""
    return leave_one_out(simulate(users=80, items=40, interactions_per_user=7, seed=3))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ItemKNN, MostPopular and a SASRec of one epoch."""
    root = tmp_path_factory.mktemp("serve")
    simulate(users=80, items=40, interactions_per_user=7, seed=3).save(root / "shop")
    rows = [{"model": "MostPopular"}, {"model": "ItemKNN"}, {"model": "SASRec", "settings": NET}]
    recipe = {"name": "shop", "dataset": {"path": str(root / "shop")}, "evaluation": {"at": [5, 10]}, "models": rows}
    with pytest.MonkeyPatch.context() as patch:  # the report takes longer than all the rest
        patch.setattr("seqlore.experiment.runner.write_report", lambda folder: folder)
        run(Recipe.parse(recipe, "test"), out=root / "run")
    return root / "run"


@pytest.fixture(scope="session")
def frozen(split: Split, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a net whose items are their texts: it takes new ones."""
    init = {"encoder": str(tiny_encoder), "mode": "frozen", "store": str(tmp_path_factory.mktemp("store"))}
    return SASRec(**NET, item_init=init).fit(split).save(tmp_path_factory.mktemp("models") / "frozen")


@pytest.fixture(scope="session")
def two_stage(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MostPopular with PRM behind it."""
    reranker = PRM(embedding_size=8, epochs=1).fit(split, Uniform(9))
    model = TwoStage.of(MostPopular().fit(split), reranker, depth=20)
    return model.save(tmp_path_factory.mktemp("models") / "two-stage")


@pytest.fixture(scope="session")
def lore(split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knowledge on two items, one of them in two wordings; a user's text is not for here."""
    first, second = split.catalog.ids[:2]
    path = tmp_path_factory.mktemp("lore") / "lore.parquet"
    pl.DataFrame(
        {
            "kind": ["item", "item", "item", "user"],
            "id": [first, first, second, "u"],
            "version": pl.Series([0, 1, 0, 0], dtype=pl.Int32),
            "text": ["Good for nights.", "In other words.", "<b>Good</b> for days.", "Likes all."],
        }
    ).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def app(run_folder: Path, frozen: Path, two_stage: Path, lore: Path):
    return create_app([run_folder, frozen, two_stage], ServeSettings(hosts=HOSTS, max_k=50), lore=[lore])


@pytest.fixture(scope="session")
def http(app) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
