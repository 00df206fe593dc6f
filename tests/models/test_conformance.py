"""What every model promises, checked on every model: a toy world with a known right answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import seqlore.recommender as contract
from seqlore.data import Split, leave_one_out
from seqlore.errors import ConfigError, DataError
from seqlore.recommender import REGISTRY, Recommender, ScoringRecommender, model_class
from toys import make_dataset

N = 20
#: Settings that make each model fast and certain on the toy world.
TINY_NET = {
    "embedding_size": 16,
    "epochs": 60,
    "dropout": 0.0,
    "max_length": 8,
    "learning_rate": 0.02,
    "patience": 60,
    "warmup_steps": 0,
    "monitor": "ndcg@10",
    "batch_tokens": 512,
}
TINY_RERANKER = {k: v for k, v in TINY_NET.items() if k not in ("batch_tokens", "max_length")}
SETTINGS: dict[str, dict] = {
    "SASRec": TINY_NET,
    "GRU4Rec": TINY_NET,
    "BERT4Rec": {**TINY_NET, "epochs": 60, "maskings": 3, "dropout": 0.1, "learning_rate": 0.01},
    "NARM": TINY_NET,
    "STAMP": TINY_NET,
    "HGN": TINY_NET,
    "Caser": {
        **TINY_NET,
        "embedding_size": 32,
        "epochs": 20,
        "learning_rate": 0.005,
        "batch_tokens": 128,
        "stranger_share": 0.5,
    },
    "FDSA": {**TINY_NET, "epochs": 40, "attributes": ["title"]},
    "S3Rec": {**TINY_NET, "epochs": 40, "attributes": ["title"], "pretrain_epochs": 5},
    "LRURec": {**TINY_NET, "epochs": 40},
    "BSARec": {**TINY_NET, "epochs": 30},
    "eSASRec": {**TINY_NET, "epochs": 40},
    "CL4SRec": {**TINY_NET, "epochs": 40},
    "ICLRec": {**TINY_NET, "epochs": 40, "intents": 5},
    "Recformer": {
        **TINY_NET,
        "learning_rate": 0.005,
        "pretrain_rate": 0.005,
        "pretrain_epochs": 10,
        "epochs": 40,
        "validate_every": 4,
        "layers": 1,
        "vocabulary": 300,
    },
    "Blend": {"models": [{"model": "Markov", "weight": 0.7}, {"model": "MostPopular", "weight": 0.3}]},
    "TwoStage": {
        "retriever": {"model": "Markov"},
        "reranker": {"model": "GRU4RecReranker", "settings": {**TINY_RERANKER, "targets": 3}},
    },
}
TINY_FROZEN = {k: v for k, v in TINY_NET.items() if k not in ("batch_tokens", "embedding_size", "dropout")}
SETTINGS["ReLRec"] = {
    **TINY_FROZEN,
    "epochs": 40,
    "validate_every": 10,
    "batch_size": 16,
    "projection": {"width": 32},
    "beta": 0,
    "gamma": 0,
}
SETTINGS["E4SRec"] = {
    **TINY_FROZEN,
    "epochs": 40,
    "validate_every": 40,
    "learning_rate": 0.005,
    "max_length": 4,  # as long as training's: a body learned on twenty walks says nothing of places it never read
    "instruction": "",
    "response": "?",
    "donor": {"model": "SASRec", "settings": {**TINY_NET, "epochs": 20, "validate_every": 10}},
}
SETTINGS["LLMSeqPrompt"] = {
    "pairs": "all",
    "max_items": 1,
    "context": 200,
    "epochs": 12,
    "patience": 12,
    "learning_rate": 0.005,
    "warmup_steps": 20,
    "batch_tokens": 1024,
    "temperature": 0.7,
    "samples": 10,
}
SETTINGS["RecSysLLM"] = {
    "start": "random",
    "pretraining": {"shape": "nano", "vocabulary": 300, "context": 64},
    "max_items": 1,
    "masked": 0.0,
    "rolling": 1.0,
    "windows": {"shares": (1, 0, 0)},
    "learning_rate": 0.006,
    "warmup_steps": 30,
    "batch_tokens": 256,
    "epochs": 12,
}
#: Models that need a language model get a tiny one from a fixture; the setting that names it.
BODIED = {"ReLRec": "backbone", "E4SRec": "backbone", "LLMSeqPrompt": "base_model"}
#: Models that need an encoder get a tiny one from a fixture.
TEXTUAL = {"LLMSeqSim", "LLMSeqPrompt", "LLM2SASRec", "LLM2GRU4Rec", "LLM2BERT4Rec"}
#: What it must reach at least where it is not nearly all: a language model that is learned on twenty titles.
LEAST = {"Recformer": 0.3}
#: Models that cannot know the toy world's rule: they see no order, or only what is popular or alike.
ORDERLESS = {"MostPopular", "ItemKNN", "SKNN", "SSKNN", "LLMSeqSim"}


@pytest.fixture(scope="module")
def split() -> Split:
    """Everybody walks the ring item 0 → 1 → … → 19 → 0 from a start of their own: the next item is certain."""
    rng = np.random.default_rng(0)
    walks = {}
    for u in range(100):
        start, length = int(rng.integers(N)), int(rng.integers(4, 8))
        walks[f"u{u}"] = [f"item-{(start + j) % N}" for j in range(length)]
    titles = {f"item-{i}": f"title number {'abcdefghijklmnopqrst'[i]}" for i in range(N)}
    titles["never-seen"] = "title never seen"
    return leave_one_out(make_dataset(walks, titles))


@pytest.fixture(scope="module")
def fitted(split, request, tiny_encoder, tiny_backbone) -> Recommender:
    name = request.param
    settings = dict(SETTINGS.get(name.removeprefix("LLM2"), {}))
    if name in TEXTUAL:
        source = {"encoder": str(tiny_encoder), "store": str(tiny_encoder.parent / "store")}
        settings["item_init" if name.startswith("LLM2") else "text"] = source
    if name in BODIED:
        body = str(tiny_backbone)
        settings[BODIED[name]] = {"name": body} if BODIED[name] == "backbone" else body
    return model_class(name)(**settings).fit(split)


every_model = pytest.mark.parametrize("fitted", sorted(REGISTRY), indirect=True)


@every_model
def test_it_learns_the_ring(fitted: Recommender, split: Split):
    lists = fitted.rank(split.test.histories, 5)
    if fitted.name in ORDERLESS:
        assert (lists.items[:, 0] > 0).all()
    else:
        first = (lists.items[:, 0] == split.test.targets).mean()
        assert first > LEAST.get(fitted.name, 0.9), (
            f"{fitted.name} finds the certain successor in only {first:.0%} of the cases"
        )


@every_model
def test_seen_items_stay_out_unless_asked_for(fitted: Recommender, split: Split):
    histories = split.test.histories
    lists = fitted.rank(histories, N)
    for history, row in zip(histories, lists.items, strict=True):
        listed = row[row > 0]
        assert not set(listed.tolist()) & set(history.tolist())
        assert len(set(listed.tolist())) == len(listed)
    if fitted.name == "SFSKNN":
        return  # it lists only what once followed the last item, and on the ring that is never a seen one
    again = fitted.rank(histories, N + 1, exclude_seen=False)
    assert any(set(r.tolist()) & set(h.tolist()) for h, r in zip(histories, again.items, strict=True))


@every_model
def test_a_batch_equals_its_cases(fitted: Recommender, split: Split):
    histories = split.test.histories.take(np.arange(17))
    together = fitted.rank(histories, 5)
    for i in range(len(histories)):
        alone = fitted.rank(histories.take(np.array([i])), 5)
        np.testing.assert_allclose(alone.scores[0], together.scores[i], atol=1e-5)
        close = -np.diff(np.maximum(together.scores[i], -1e30)) > 1e-4
        if close.all():
            assert alone.items[0].tolist() == together.items[i].tolist()


@every_model
def test_saved_and_loaded_it_gives_the_same_lists(fitted: Recommender, split: Split, tmp_path: Path):
    before = fitted.rank(split.test.histories, 6)
    fitted.save(tmp_path / "model")
    loaded = contract.load(tmp_path / "model")
    after = loaded.rank(split.test.histories, 6)
    assert before.items.tolist() == after.items.tolist()
    np.testing.assert_allclose(before.scores, after.scores, atol=1e-6)
    assert loaded.config == fitted.config
    assert loaded.about == fitted.about
    assert (tmp_path / "model" / "README.md").read_text().startswith(f"# {fitted.name}")
    assert not list((tmp_path / "model").rglob("*.p*k*l"))


@every_model
def test_candidates_are_all_that_is_listed(fitted: Recommender, split: Split):
    histories = split.test.histories.take(np.arange(4))
    allowed = np.array([2, 5, 7, 0])
    lists = fitted.rank(histories, 6, candidates=allowed, exclude_seen=False)
    assert set(lists.items.flatten().tolist()) <= {0, 2, 5, 7}
    each = np.array([[1, 2], [3, 4], [5, 6], [7, 8]])
    lists = fitted.rank(histories, 2, candidates=each, exclude_seen=False)
    for row, candidates in zip(lists.items, each, strict=True):
        assert set(row.tolist()) <= {0, *candidates.tolist()}


@every_model
def test_strange_questions(fitted: Recommender, split: Split):
    ids = split.catalog.ids
    out = fitted.recommend([[], ["nobody-knows-this"], [ids[0], "nor this"], [ids[0]]], k=500)
    assert all(len(row) <= N + 1 for row in out.items)
    assert out.items[0] == out.items[1], "an unknown item is skipped, so only an empty history is left"
    assert out.items[2] == out.items[3]
    assert out.items[0], "an empty history is answered"
    assert fitted.recommend([], k=3).items == []
    with pytest.raises(DataError, match="k=0"):
        fitted.recommend([[ids[0]]], k=0)
    with pytest.raises(DataError, match="wrap"):
        fitted.recommend(ids[:2], k=1)


@every_model
def test_scores_descend_and_are_finite(fitted: Recommender, split: Split):
    scores = fitted.rank(split.test.histories, 8).scores
    listed = scores > -np.inf
    assert np.isfinite(scores[listed]).all()
    assert (np.diff(np.where(listed, scores, -1e30), axis=1) <= 0).all()


@every_model
def test_item_vectors_give_the_scores(fitted: Recommender, split: Split):
    if not isinstance(fitted, contract.HasItemVectors) or not isinstance(fitted, ScoringRecommender):
        pytest.skip("this model has no vectors")
    histories = split.test.histories.take(np.arange(5))
    try:
        vectors, queries = fitted.item_vectors(), fitted.encode(histories)
    except ConfigError:
        pytest.skip("its similarity is no inner product")
    torch.testing.assert_close((queries @ vectors.T)[:, 1:], fitted.score(histories)[:, 1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["SASRec", "GRU4Rec", "BERT4Rec"])
def test_the_same_seed_gives_the_same_net(split: Split, name: str):
    settings = {**SETTINGS[name], "epochs": 2, "dropout": 0.3}
    a, b, c = (model_class(name)(**settings, seed=s).fit(split) for s in (1, 1, 2))
    states = [m.state() for m in (a, b, c)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(torch.equal(states[0][k], states[2][k]) for k in states[0])


def test_a_damaged_folder_is_refused(split: Split, tmp_path: Path):
    folder = model_class("MostPopular")().fit(split).save(tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="digest differs"):
        contract.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        contract.load(folder)
    with pytest.raises(DataError, match="not a model folder"):
        contract.load(tmp_path)


def test_a_newer_folder_is_refused(split: Split, tmp_path: Path):
    folder = model_class("MostPopular")().fit(split).save(tmp_path / "m")
    head = (folder / "config.json").read_text().replace('"format": 1', '"format": 99')
    (folder / "config.json").write_text(head)
    with pytest.raises(DataError, match="newer"):
        contract.load(folder)


def test_unknown_models_and_settings_name_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'SASRec'"):
        model_class("SASRek")
    with pytest.raises(ConfigError, match="did you mean 'dropout'"):
        model_class("SASRec")(drop_out=0.1)
    with pytest.raises(ConfigError, match="did you mean 'encoder'"):
        model_class("SASRec")(item_init={"encodr": "x"})


def test_recommendations_as_a_frame(split: Split):
    model = model_class("MostPopular")().fit(split)
    frame = model.recommend([[], [split.catalog.ids[0]]], k=3).to_frame(keys=["a", "b"])
    assert frame.schema["score"] == pl.Float32
    assert frame["history"].to_list() == ["a"] * 3 + ["b"] * 3
    assert frame["rank"].to_list() == [1, 2, 3, 1, 2, 3]
