"""Tuning: what the loss reads, and adapters that become part of the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seqlore.data import Sequences
from seqlore.language.backbone import Backbone, BackboneConfig
from seqlore.language.tuning import PairNet, Pairs, merge, tune
from seqlore.training import TrainConfig

COMPLETIONS = Sequences.from_lists([[], [40, 41, 1], [50, 1]])
PROMPTS = [[0, 60, 61, 62], [0, 70], [0, 80, 81]]
ITEMS = np.array([1, 2, 1])


@pytest.fixture
def pairs() -> Pairs:
    return Pairs(PROMPTS, ITEMS, COMPLETIONS)


def body(folder: Path, tune: str = "full", **settings) -> Backbone:
    return Backbone(BackboneConfig(name=str(folder), tune=tune, **settings))


def by_hand(model, prompts: bool) -> list[torch.Tensor]:
    """−log p of each token of each pair that is read, pair by pair."""
    out = []
    for prompt, item in zip(PROMPTS, ITEMS, strict=True):
        ids = torch.tensor([[*prompt, *COMPLETIONS[item].tolist()]])
        loss = F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        out.append(loss if prompts else loss[len(prompt) - 1 :])
    return out


def test_the_loss_is_that_of_the_completions(tiny_backbone: Path, pairs: Pairs):
    net = PairNet(body(tiny_backbone), 0.0).eval()
    (batch,) = pairs.batches(1000, None)
    with torch.no_grad():
        read = torch.cat(by_hand(net.body.model, prompts=False))
        torch.testing.assert_close(net(batch), read.mean())
        assert net.log_likelihood(pairs) == pytest.approx(-float(read.mean()), abs=1e-5)
    assert sum(len(b[1]) for b in pairs.batches(5, np.random.default_rng(0))) == 3


def test_prompts_count_at_their_weight(tiny_backbone: Path, pairs: Pairs):
    net = PairNet(body(tiny_backbone), 0.1).eval()
    (batch,) = pairs.batches(1000, None)
    with torch.no_grad():
        every = by_hand(net.body.model, prompts=True)
        ends = by_hand(net.body.model, prompts=False)
        told = sum(float(e.sum()) for e in every) - sum(float(e.sum()) for e in ends)
        count = sum(len(e) for e in every) - sum(len(e) for e in ends)
        own, n = sum(float(e.sum()) for e in ends), sum(len(e) for e in ends)
        assert float(net(batch)) == pytest.approx((own + 0.1 * told) / (n + 0.1 * count), rel=1e-5)


@pytest.mark.parametrize("way", ["full", "lora"])
def test_pairs_are_learned_and_an_adapter_is_merged(tiny_backbone: Path, pairs: Pairs, way: str):
    learner = body(tiny_backbone, way, lora_rank=16, lora_alpha=32, lora_dropout=0.0)
    names = {name for name, _ in learner.model.named_parameters()}
    settings = TrainConfig(epochs=30, learning_rate=0.02, warmup_steps=0, monitor="log_likelihood", device="cpu")
    history = tune(learner, pairs, pairs, settings, batch_tokens=100)
    valid = [row["valid"]["log_likelihood"] for row in history]
    assert valid[-1] > valid[0] + 1.5
    assert way == "lora" or valid[-1] > -0.3  # the adapter leaves the head alone, and learns less
    plain = body(tiny_backbone, "none")
    assert dict(learner.model.named_parameters()).keys() == dict(plain.model.named_parameters()).keys()
    if way == "lora":
        assert any("lora_" in name for name in names)
    with torch.no_grad():  # the merged model is the one that was validated last or best
        read = -torch.cat(by_hand(learner.model.eval(), prompts=False)).mean()
    assert float(read) == pytest.approx(max(valid), abs=1e-3)


def test_merging_changes_no_output(tiny_backbone: Path):
    learner = body(tiny_backbone, "lora", lora_rank=4, lora_alpha=8.0)
    for weight in learner.trained.values():
        torch.nn.init.normal_(weight, std=0.1)
    ids = torch.tensor([[0, 5, 6, 7, 8]])
    learner.model.eval()
    with torch.no_grad():
        before = learner.model(ids).logits
        merge(learner.model)
        torch.testing.assert_close(learner.model(ids).logits, before, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(body(tiny_backbone, "none").model(ids).logits, before, atol=1e-2)


def test_tuning_stops_when_the_validation_loss_has_converged(tiny_backbone: Path, pairs: Pairs):
    strange = Pairs(PROMPTS, np.array([2, 1, 2]), COMPLETIONS)  # other completions: the better learned, the worse
    settings = TrainConfig(
        epochs=50, patience=1, learning_rate=0.02, warmup_steps=0, monitor="log_likelihood", device="cpu"
    )
    history = tune(body(tiny_backbone), pairs, strange, settings, batch_tokens=100)
    assert len(history) < 20
    valid = [row["valid"]["log_likelihood"] for row in history]
    assert max(valid) == valid[-2]
