"""Scorers of pairs: each finds the kind that a user likes; drawn wrong items are wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqlore.data import leave_one_out
from seqlore.tasks.baselines.direct import (
    BPRMF,
    BPRMLP,
    DirectConfig,
    PairNet,
    Popularity,
    SimpleX,
    _Pairwise,
    _unknown,
)
from seqlore.tasks.scores import list_scores
from seqlore.tasks.split import TaskSplit, one_split
from toys import make_dataset


@pytest.fixture(scope="module")
def kinds() -> TaskSplit:
    """Even users take even items, odd users odd ones."""
    rng = np.random.default_rng(0)
    histories = {f"u{u}": [f"i{2 * i + u % 2}" for i in rng.permutation(15)[:10]] for u in range(40)}
    return one_split(leave_one_out(make_dataset(histories)))


def test_popularity_is_counted_in_training():
    tasks = one_split(leave_one_out(make_dataset({"u": ["a", "b", "c"], "v": ["a", "c", "b"]})))
    items = tasks.split.catalog.index(["a", "b", "c"])
    assert Popularity().fit(tasks).score(tasks.test, np.tile(items, (2, 1))).tolist() == [[2, 0, 0]] * 2


@pytest.mark.parametrize("kind", [BPRMF, BPRMLP, SimpleX])
def test_what_a_user_likes_is_found(kinds: TaskSplit, kind: type[_Pairwise]):
    config = DirectConfig(size=16, batch_size=64, negatives=16, epochs=15, patience=15, warmup_steps=10, max_items=8,
                          learning_rate=0.01, negative_weight=1.0, device="cpu")  # fmt: skip
    model = kind(config).fit(kinds)
    others = np.array([kinds.split.catalog.index([f"i{n}" for n in range(30)])] * len(kinds.test))
    seen = [set(h.tolist()) for h in kinds.test.histories()]
    rows = [[i if i not in s else 0 for i in row] for row, s in zip(others.tolist(), seen, strict=True)]
    candidates = np.array(rows)
    scores = model.score(kinds.test, candidates)
    # Six unseen items are of the right kind, fifteen of the other: by chance a target is among the first six in 29 %.
    assert list_scores(scores, candidates, kinds.test.items, at=(6,)).values["hr@6"] > 0.8
    one = kinds.test.take(slice(3, 4))
    assert model.score(one, candidates[3:4]) == pytest.approx(scores[3:4], abs=1e-5)


def test_wrong_items_are_wrong():
    rng = np.random.default_rng(0)
    users = np.repeat(np.array([1, 2]), 200)
    known = np.sort(np.array([1 << 32 | 1, 1 << 32 | 2, 2 << 32 | 3]))
    drawn = _unknown(users, 5, known, rng)
    assert set(drawn[:200]) == {3, 4}
    assert set(drawn[200:]) == {1, 2, 4}


def test_simplex_by_hand():
    net = PairNet("simplex", 2, 4, DirectConfig(size=2, fusion=0.5, margin=0.5, negative_weight=2.0))
    with torch.no_grad():
        net.user.weight.copy_(torch.tensor([[0.0, 0], [1, 0]]))
        net.item.weight.copy_(torch.tensor([[0.0, 0], [0, 3], [2, 0], [0, 1]]))
        net.mixed.weight.copy_(torch.eye(2))
    one, told = torch.tensor([1]), torch.tensor([[1, 3, 0]])
    # The mean of items 1 and 3 without item 3 is (0, 3): the wish is (0.5, 1.5), its cosine with (0, 1) 3 / √10.
    scores = net.score(one, torch.tensor([[3, 2]]), told, torch.tensor([3]))
    assert scores.tolist()[0] == pytest.approx([3 / 10**0.5, 1 / 10**0.5])
    # Wrong items 1 (cosine 3 / √10) and 2 (1 / √10, under the margin).
    loss = net((one, torch.tensor([3]), torch.tensor([1, 2]), told))
    assert loss.item() == pytest.approx(1 - 3 / 10**0.5 + 2 * (3 / 10**0.5 - 0.5) / 2)
