"""What every backbone promises, and what each is by its nature."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from rerank.worlds import BACKBONES, LISTWISE, TINY, favourites, ring
from seqlore.data import Sequences, Split
from seqlore.errors import ConfigError
from seqlore.evaluation import evaluate
from seqlore.models import MostPopular
from seqlore.rerank import NoAugmentation, Reranker, TwoStage, Uniform, reranker_class
from seqlore.rerank.lists import ListBatch, list_batch

#: A value other than the default and TINY's for each setting that must change what is learned.
FLIPPED = {
    "learning_rate": 0.03,
    "weight_decay": 5.0,
    "warmup_steps": 50,
    "schedule": "cosine",
    "clip_norm": 1e-3,
    "ema_decay": 0.5,
    "precision": "bf16",
    "epochs": 1,
    "seed": 1,
    "embedding_size": 8,
    "history_length": 2,
    "dropout": 0.3,
    "init_std": 0.3,
    "batch_size": 5,
    "targets": 2,
    "first_target": 3,
    "target_pool": 1,
    "target_step": 3,
    "layers": 1,
    "heads": 1,
    "inner_size": 4,
    "hidden_size": 20,
    "comparisons": 3,
    "reads_history": True,
    "block": "msab",
    "induced": 3,
    "ordinal": True,
    "places": 2,
}
#: Settings that only matter beside another.
BESIDE = {
    ("SetRank", "places"): {"ordinal": True},
    **{(name, "heads"): {"reads_history": True} for name in LISTWISE},
    **{(name, "history_length"): {"reads_history": True} for name in LISTWISE},
    ("GRU4RecReranker", "layers"): {"layers": 2},
}
#: Of the loop (tests/training), of the lists (test_lists), or of augmentations (test_augment).
ELSEWHERE = {
    "schedule_epochs",
    "patience",
    "validate_every",
    "monitor",
    "device",
    "valid_cases",
    "augmentation",
    "start",
    "continued",
}


@lru_cache
def world() -> Split:
    return ring(20)


@lru_cache
def fitted(name: str) -> Reranker:
    return reranker_class(name)(**TINY, epochs=2).fit(world(), Uniform(6))


def lists(width: int = 6) -> tuple[Sequences, np.ndarray]:
    cases = Uniform(width).fitted(world()).asked(world().test)
    assert cases.candidates is not None
    return cases.histories, cases.candidates


every_backbone = pytest.mark.parametrize("name", BACKBONES)


@pytest.mark.parametrize("name", ["GRU4RecReranker", "SASRecReranker"])
def test_a_scorer_learns_the_ring(name: str):
    split, source = ring(), Uniform(6)
    model = reranker_class(name)(**{**TINY, "targets": 3, "epochs": 25, "learning_rate": 0.02}).fit(split, source)
    assert evaluate(model, split, cases=source.asked(split.test), at=(1,)).metrics["ndcg@1"] > 0.9


@pytest.mark.parametrize(("reads", "least", "most"), [(True, 0.7, 1.0), (False, 0.0, 0.6)])
def test_a_listwise_backbone_learns_it_only_if_it_reads_the_history(reads: bool, least: float, most: float):
    split, source = ring(), Uniform(6)
    settings = {"targets": 3, "epochs": 40, "learning_rate": 0.01, "history_length": 3, "patience": 40}
    model = reranker_class("SetRank")(**{**TINY, **settings}, reads_history=reads).fit(split, source)
    assert least < evaluate(model, split, cases=source.asked(split.test), at=(1,)).metrics["ndcg@1"] < most


@every_backbone
def test_every_base_learns_what_everybody_likes(name: str):
    split, source = favourites(), Uniform(6)
    model = reranker_class(name)(**TINY, epochs=12).fit(split, source)
    hoarders = split.users.index([f"hoarder-{h}" for h in range(5)])
    mine = split.test.take(~np.isin(split.test.histories.users, hoarders))
    assert evaluate(model, split, cases=source.asked(mine), at=(1,)).metrics["ndcg@1"] == 1.0


@every_backbone
def test_a_batch_equals_its_lists_and_padding_changes_nothing(name: str):
    model, (histories, candidates) = fitted(name), lists()
    together = model.score(histories, candidates)
    wide = np.pad(candidates, ((0, 0), (0, 3)))
    padded = model.score(histories, wide)
    assert (padded[:, -3:] == -torch.inf).all()
    torch.testing.assert_close(padded[:, :-3], together, atol=1e-5, rtol=0)
    for i in (0, 7, 19):
        row = np.array([i])
        torch.testing.assert_close(model.score(histories.take(row), candidates[row])[0], together[i], atol=1e-5, rtol=0)


@every_backbone
def test_empty_histories_and_empty_lists_are_served(name: str):
    model, (histories, candidates) = fitted(name), lists()
    empty = Sequences.from_lists([[], histories[1], []])
    rows = candidates[:3].copy()
    rows[2] = 0
    scores = model.score(empty, rows)
    assert scores[:2].isfinite().all()
    assert (scores[2] == -torch.inf).all()
    alone = model.score(empty.take([0]), rows[:1])
    torch.testing.assert_close(alone[0], scores[0], atol=1e-5, rtol=0)


@every_backbone
def test_nothing_to_order_is_an_empty_list(name: str):
    model, (histories, _) = fitted(name), lists()
    assert model.rerank(histories, np.zeros((len(histories), 0), np.int32)).items.shape == (len(histories), 0)
    both = TwoStage.of(MostPopular().fit(world()), model)
    known = world().catalog.ids
    for candidates in ([], ["nobody knows it"]):
        assert both.recommend([[known[0]], []], 3, candidates=candidates).items == [[], []]
    assert both.recommend([[]], 3, candidates=["?", known[1]]).items == [[known[1]]]


@every_backbone
def test_saved_and_loaded_it_gives_the_same_order(name: str, tmp_path: Path):
    model, (histories, candidates) = fitted(name), lists()
    model.save(tmp_path)
    again = Reranker.load(tmp_path)
    assert type(again) is type(model)
    assert again.config == model.config
    assert again.users is not None
    assert torch.equal(again.score(histories, candidates), model.score(histories, candidates))


@every_backbone
def test_a_fit_is_a_function_of_its_seed(name: str):
    again = reranker_class(name)(**TINY, epochs=2).fit(world(), Uniform(6))
    assert torch.equal(again.score(*lists()), fitted(name).score(*lists()))


def settings() -> list[tuple[str, str]]:
    return [(n, f) for n in BACKBONES for f in sorted(reranker_class(n).Config.model_fields) if f not in ELSEWHERE]


@pytest.mark.parametrize(("name", "field"), settings())
def test_every_setting_does_something(name: str, field: str):
    beside = {**TINY, "epochs": 2, **BESIDE.get((name, field), {})}
    flipped = {**beside, field: FLIPPED[field]}
    split = world().with_validation()  # so that the last epoch is kept, whatever it is worth
    before, after = (reranker_class(name)(**s).fit(split, Uniform(6)) for s in (beside, flipped))
    assert not torch.allclose(before.score(*lists()), after.score(*lists()), atol=1e-7)


def test_what_it_is_stopped_by_is_checked_at_once():
    with pytest.raises(ConfigError, match="is no accuracy of each case"):
        reranker_class("PRM")(monitor="coverage@10")
    assert "hr@3" in reranker_class("PRM")(**TINY, epochs=1, monitor="hr@3").fit(world(), Uniform(6)).about["valid"]


# --- by nature -------------------------------------------------------------------------------------------------------


def reordered(name: str, **changed) -> float:
    """Largest change of any candidate's score when the list is given in another order."""
    torch.manual_seed(0)
    cls = reranker_class(name)
    config = cls.Config.parse({**TINY, **changed}, name)
    net = cls.Net(20, config, NoAugmentation()).eval()
    order = torch.tensor([3, 0, 4, 1, 2])
    batch = list_batch(Sequences.from_lists([[3, 4], []]), np.array([[5, 6, 7, 8, 9], [9, 1, 2, 3, 0]]), 10)
    batch = ListBatch(*batch[:4], batch.candidates[:1], batch.target)._replace(
        items=batch.items[:1], lengths=batch.lengths[:1], users=batch.users[:1], known=batch.known[:1]
    )
    with torch.no_grad():
        straight = net.scores(batch)
        turned = net.scores(batch._replace(candidates=batch.candidates[:, order]))
    assert straight.std() > 0
    return (turned - straight[:, order]).abs().max().item()


@pytest.mark.parametrize("block", ["imsab", "msab"])
@pytest.mark.parametrize("reads", [False, True])
def test_setrank_is_permutation_equivariant(block: str, reads: bool):
    assert reordered("SetRank", block=block, reads_history=reads) < 1e-5


def test_dlcm_and_prm_and_ordinal_setrank_read_the_order():
    assert reordered("DLCM") > 1e-4
    assert reordered("PRM") > 1e-4
    assert reordered("SetRank", ordinal=True) > 1e-4


def test_scorers_of_single_candidates_do_not():
    assert reordered("GRU4RecReranker") < 1e-5
    assert reordered("SASRecReranker") < 1e-5


@pytest.mark.parametrize("name", LISTWISE)
def test_listwise_bases_do_not_see_the_history(name: str):
    histories, candidates = lists()
    others = Sequences.from_lists([[1]] * len(histories))
    assert torch.equal(fitted(name).score(histories, candidates), fitted(name).score(others, candidates))
    company = candidates.copy()
    company[:, -1] = 0
    changed = fitted(name).score(histories, company)[:, 0] - fitted(name).score(histories, candidates)[:, 0]
    assert changed.abs().max() > 1e-6, "but they do see the company in which a candidate stands"


@pytest.mark.parametrize("name", ["GRU4RecReranker", "SASRecReranker"])
def test_scorers_read_the_history_to_its_latest_150_events(name: str):
    assert fitted(name).config.history_length == 150
    histories, candidates = lists()
    assert not torch.equal(
        fitted(name).score(histories, candidates), fitted(name).score(histories.drop_last(), candidates)
    )
