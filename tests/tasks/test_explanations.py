"""Explainers: each learns who says what; only the hinted one knows the hint; later words are hidden from earlier."""

from __future__ import annotations

import pytest
import torch

from seqlore.data import leave_one_out
from seqlore.tasks.baselines.explanations import (
    NRT,
    PETER,
    Attn2Seq,
    Explainer,
    ExplainerConfig,
    PETERPlus,
    split_words,
)
from seqlore.tasks.material import Material
from seqlore.tasks.split import one_split
from toys import make_dataset

WORDS = ("sound", "strap", "colour")


@pytest.fixture(scope="module")
def world() -> Material:
    """Users praise the sound or blame it; which feature is judged is by chance, and only the hint tells."""
    histories, reviews = {}, []
    rng = torch.Generator().manual_seed(0)
    for u in range(24):
        histories[f"u{u}"] = [f"i{(u * 3 + t) % 16}" for t in range(8)]
        for _ in range(8):
            feature = WORDS[int(torch.randint(3, (1,), generator=rng))]
            reviews.append(f"The {feature} is {'great' if u % 2 else 'awful'}.")
    stars = [5.0 if review.endswith("great.") else 1.0 for review in reviews]
    return Material(one_split(leave_one_out(make_dataset(histories, rating=stars, review=reviews))))


def settings(**changes) -> ExplainerConfig:
    given = {"size": 32, "layers": 1, "epochs": 15, "patience": 15, "batch_size": 16, "warmup_steps": 5, "dropout": 0.0,
             "learning_rate": 0.01, "words": 6, "device": "cpu"}  # fmt: skip
    return ExplainerConfig.parse({**given, **changes}, "explainer")


@pytest.mark.parametrize("kind", [Attn2Seq, NRT, PETER, PETERPlus])
def test_who_says_what_is_learned(world: Material, kind: type[Explainer]):
    model = kind(settings()).fit(world)
    pairs = world.pairs("explanation", "test")
    written = model.write(pairs)
    wanted = [str(world.answer("explanation", item, row)).lower() for _, item, row in pairs]
    assert all(len(split_words(w)) == 5 and w.endswith(".") for w in written)
    judged = sum(split_words(a)[3] == split_words(b)[3] for a, b in zip(written, wanted, strict=True))
    same = sum(a == b for a, b in zip(written, wanted, strict=True))
    assert judged >= 22, "of 24 users"
    assert same >= 22 if kind is PETERPlus else same <= 18, "the feature is told by the hint alone"
    assert model.write(pairs.take(slice(5, 6))) == written[5:6]


@pytest.mark.parametrize("kind", [Attn2Seq, NRT, PETER, PETERPlus])
def test_a_place_does_not_see_the_words_behind_it(kind: type[Explainer]):
    torch.manual_seed(0)
    net = kind.net_class(5, 5, 12, settings()).eval()
    one = torch.tensor([1])
    words = torch.tensor([[1, 5, 6, 7, 2]])
    other = torch.tensor([[1, 5, 9, 10, 2]])
    a, b = (net.logits((one, one, one, one, w))[0] for w in (words, other))
    assert torch.allclose(a[:, :2], b[:, :2])
    assert not torch.allclose(a[:, 2], b[:, 2])


def test_user_and_item_of_peter_see_each_other_and_no_words():
    torch.manual_seed(0)
    net = PETER.net_class(5, 5, 12, settings()).eval()
    one, two = torch.tensor([1]), torch.tensor([2])
    words = torch.tensor([[1, 5, 6, 2]])
    stars, bag = net.logits((one, one, one, one, words))[1:]
    again = net.logits((one, one, two, two, torch.tensor([[1, 8, 9, 2]])))
    assert torch.allclose(stars, again[1]), "neither words nor stars nor the hint"
    assert torch.allclose(bag, again[2])
    assert not torch.allclose(stars, net.logits((one, two, one, one, words))[1]), "the user's place sees the item"
    plus = PETERPlus.net_class(5, 5, 12, settings()).eval()
    assert not torch.allclose(plus.logits((one, one, one, one, words))[1], plus.logits((one, one, one, two, words))[1])
