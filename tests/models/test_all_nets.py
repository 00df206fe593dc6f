"""What holds for every net: one seed is one net, a killed fit goes on exactly, and ids are learned in a null space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqlore.data import Split, leave_one_out
from seqlore.recommender import REGISTRY, load, model_class
from toys import make_dataset

TINY = {"embedding_size": 8, "epochs": 2, "max_length": 6, "batch_tokens": 64, "learning_rate": 0.01, "valid_cases": 5}
OWN = {
    "FDSA": {"attributes": ["title"]},
    "S3Rec": {"attributes": ["title"], "pretrain_epochs": 2},
    "ICLRec": {"intents": 4},
    "Recformer": {"vocabulary": 300, "layers": 1, "pretrain_epochs": 1, "refresh_epochs": 1},
}
NETS = [
    "SASRec",
    "GRU4Rec",
    "BERT4Rec",
    "NARM",
    "STAMP",
    "HGN",
    "Caser",
    "LRURec",
    "BSARec",
    "eSASRec",
    "CL4SRec",
    *OWN,
]
every_net = pytest.mark.parametrize("name", NETS)


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(0)
    walks = {f"u{u}": [f"i{i}" for i in rng.integers(0, 15, rng.integers(5, 12))] for u in range(12)}
    return leave_one_out(make_dataset(walks, {f"i{i}": f"item {'abcdefghijklmno'[i]}" for i in range(15)}))


def settings(name: str, **more) -> dict:
    return {**TINY, **OWN.get(name, {}), **more}


def test_no_net_is_left_out() -> None:
    from seqlore.models.net import NetRecommender

    nets = {n for n, where in REGISTRY.items() if ".models." in where and issubclass(model_class(n), NetRecommender)}
    assert {n for n in nets if not n.startswith("LLM2")} == set(NETS)


@every_net
def test_the_same_seed_is_the_same_net_and_a_killed_fit_ends_as_it_would_have(name: str, split: Split, tmp_path: Path):
    class Killed(Exception):
        pass

    def kill(row: dict) -> None:
        if "stage" not in row:
            raise Killed

    whole = model_class(name)(**settings(name)).fit(split).state()
    with pytest.raises(Killed):  # after the first epoch
        model_class(name)(**settings(name)).fit(split, progress=kill, checkpoint=tmp_path)
    again = model_class(name)(**settings(name)).fit(split, checkpoint=tmp_path).state()
    other = model_class(name)(**settings(name, seed=1)).fit(split).state()
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    assert not all(torch.equal(whole[key], other[key]) for key in whole)


@pytest.mark.parametrize("name", [each for each in NETS if each != "Recformer"])  # which takes no vectors of items
def test_ids_are_learned_where_the_text_says_least(name: str, split: Split, tiny_encoder: Path, tmp_path: Path):
    source = {"encoder": str(tiny_encoder), "store": str(tmp_path / "store"), "mode": "nullspace"}
    model = model_class(name)(**settings(name, epochs=1, item_init=source)).fit(split)
    assert model.net.items.ids.weight.abs().sum() > 0
    loaded = load(model.save(tmp_path / "model"))
    assert torch.equal(loaded.net.items.text, model.net.items.text)
    torch.testing.assert_close(loaded.score(split.test.histories), model.score(split.test.histories))
