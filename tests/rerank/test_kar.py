"""KAR's adaptor by hand, and the texts that it and the text baselines are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rerank.worlds import GOALS, TINY, wishes
from seqlore.data import Split, user_ratio
from seqlore.data.simulate import simulate
from seqlore.evaluation import evaluate
from seqlore.rerank import KAR, PRM, BERTAug, GRU4RecReranker, Knowledge, LLMAug, Uniform
from seqlore.rerank.kar import HybridExperts
from seqlore.rerank.lists import ListBatch
from seqlore.rerank.reranker import Reranker


def test_experts_by_hand():
    torch.manual_seed(0)
    experts = HybridExperts(3, 2, 4, shared=1, own=1)
    x = torch.randn(5, 3)
    for kind in experts.KINDS:
        weight = experts.gate[kind](x).softmax(-1)
        by_hand = weight[:, :1] * experts.shared[0](x) + weight[:, 1:] * experts.own[kind][0](x)  # type: ignore[index]
        assert torch.allclose(experts(x, kind), by_hand, atol=1e-6)
    only = HybridExperts(3, 2, 4, shared=0, own=1)
    assert torch.allclose(only(x, "factual"), only.own["factual"][0](x), atol=1e-6), "one expert has all the weight"  # type: ignore[index]
    assert not torch.allclose(experts(x, "factual"), experts(x, "reasoning"))


def test_it_finds_what_text_and_item_say_together():
    split, texts = wishes()
    items = torch.zeros(split.catalog.size, GOALS)
    for goal in range(GOALS):
        items[int(split.catalog.index([f"goal-{goal}"])[0]), goal] = 1
    source = Uniform(6).fitted(split)
    augmentation = KAR(texts=Knowledge(texts, items), width=8, hidden=16, dropout=0.0)
    model = PRM(**TINY, epochs=15, patience=15, augmentation=augmentation).fit(split, source)
    assert evaluate(model, split, cases=source.asked(split.test), at=(1,)).metrics["ndcg@1"] > 0.85


def test_what_is_known_of_an_item_is_the_same_wherever_it_stands():
    split, texts = wishes()
    torch.manual_seed(0)
    kar = KAR(texts=Knowledge(texts, torch.randn(split.catalog.size, GOALS)), width=3, hidden=4, dropout=0.5)
    kar.build(split.catalog.size, 8)
    items, candidates = torch.tensor([[1, 2, 3], [3, 0, 0]]), torch.tensor([[3, 1], [4, 3]])
    batch = ListBatch(
        users=torch.tensor([1, 2]), known=torch.tensor([3, 1]), items=items, lengths=torch.tensor([3, 1]),
        candidates=candidates, target=torch.zeros(2, dtype=torch.int64),
    )  # fmt: skip
    told = kar.train()(batch, torch.nn.Identity(), True)
    facts, past = told.candidates[..., 3:], told.history[..., 3:]
    assert torch.equal(facts[0, 0], facts[1, 1]), "dropout falls alike on it"
    assert torch.equal(facts[0, 0], past[0, 2]), "in histories, too"
    assert torch.equal(told.candidates[0, 0, :3], told.candidates[0, 1, :3]), "one preference a user"
    told = kar.eval()(batch, torch.nn.Identity(), True)
    by_hand = kar._adapted(*kar.knowledge.about_items(items), 1)
    assert torch.allclose(told.history[..., 3:], by_hand, atol=1e-6)
    assert kar(batch, torch.nn.Identity(), False).history is None


@pytest.fixture(scope="module")
def shop() -> Split:
    return user_ratio(simulate(40, 80, 12, seed=3, reviews=False), parts=(6, 2, 2), targets=2, first=4)


@pytest.mark.parametrize("augmentation", [KAR, LLMAug, BERTAug])
@pytest.mark.parametrize("backbone", [PRM, GRU4RecReranker])
def test_they_gather_their_texts_and_are_saved_with_them(
    shop: Split, tmp_path: Path, tiny_encoder: Path, backbone: Any, augmentation: Any
):
    knowledge: dict[str, Any] = {"store": tmp_path / "l", "vectors": tmp_path / "v", "encoder": str(tiny_encoder)}
    source = Uniform(9).fitted(shop)
    model = backbone(**TINY, epochs=1, target_pool=1, augmentation=augmentation(knowledge=knowledge)).fit(shop, source)
    assert (tmp_path / "l").exists() == (augmentation is not BERTAug)
    model.save(tmp_path / "m")
    asked = source.asked(shop.test)
    again = Reranker.load(tmp_path / "m")
    assert torch.equal(model.score(asked.histories, asked.candidates), again.score(asked.histories, asked.candidates))
