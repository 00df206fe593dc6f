"""CL4SRec and ICLRec: laws of the distortions, the contrasts by hand, and the clusters of the E step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.data import Sequences
from seqlore.models.cl4srec import MASKED, CL4SRecConfig, CL4SRecNet, contrast, crop, mask, reorder
from seqlore.models.iclrec import intent_contrast, mean_state
from seqlore.recommender import model_class
from toys import make_split

sequences = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(lambda x: np.array(x, np.int64))
shares = st.floats(0.01, 1)
seeds = st.integers(0, 99).map(np.random.default_rng)


@given(items=sequences, share=shares, rng=seeds)
@settings(deadline=None)
def test_a_crop_is_a_run_of_its_length(items, share, rng):
    out = crop(items, share, rng).tolist()
    assert len(out) == max(1, int(share * len(items)))
    assert any(items[i : i + len(out)].tolist() == out for i in range(len(items)))


@given(items=sequences, share=shares, rng=seeds)
@settings(deadline=None)
def test_a_mask_hides_its_share_and_changes_nothing_else(items, share, rng):
    out = mask(items, share, rng)
    assert (out == MASKED).sum() == int(share * len(items))
    assert (out[out != MASKED] == items[out != MASKED]).all()


@given(items=sequences, share=shares, rng=seeds)
@settings(deadline=None)
def test_a_reordering_moves_items_within_one_run(items, share, rng):
    before = items.copy()
    out = reorder(items, share, rng)
    assert sorted(out.tolist()) == sorted(items.tolist())
    moved = np.flatnonzero(out != items)
    assert not len(moved) or moved[-1] - moved[0] < int(share * len(items))
    assert (items == before).all()


def test_contrast_by_hand():
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    # Views a, b, c, d: partners a–c with product 3 and b–d with 2; all other products are 0.
    loss = (2 * math.log(1 + 2 * math.exp(-3)) + 2 * math.log(1 + 2 * math.exp(-2))) / 4
    assert contrast(first, second, 1.0).item() == pytest.approx(loss)
    assert contrast(first, second, 1.0, torch.ones(2, 2, dtype=torch.bool)).item() == pytest.approx(0, abs=1e-6)


def test_a_masked_item_is_read_as_the_mask():
    torch.manual_seed(0)
    net = CL4SRecNet(np.array([0, 1, 1, 1]), CL4SRecConfig(embedding_size=4), None).eval()
    a, b = net.view(torch.tensor([[1, MASKED, 0], [1, 2, 0]]))
    assert not torch.equal(a, b)
    with torch.no_grad():
        net.items.embedding.weight[2] = net.mask
    torch.testing.assert_close(net.view(torch.tensor([[1, 2]]))[0], a)


def test_views_are_two_different_distortions_of_what_is_read():
    model = model_class("CL4SRec")(crop=0.5, mask=1.0, reorder=0.0, batch_tokens=64)
    train = Sequences.from_lists([[1, 2, 3, 4, 9]] * 6)
    items, _, first, second = next(iter(model.batches(train, 1, (0, 1))))
    assert items.shape == (6, 5)
    kinds = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        kind = {"mask" if MASKED in v else "crop" if 0 in v else "reorder" for v in (a, b)}
        assert len(kind) == 2
        assert 9 not in a + b, "the last target is no part of a view"
        kinds.append(tuple(sorted(kind)))
    assert len(set(kinds)) > 1


def test_the_mean_state_leaves_out_pads():
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [2.0], [6.0]]])
    assert mean_state(states, torch.tensor([2, 3])).tolist() == [[2.0], [3.0]]


def test_intent_contrast_by_hand():
    views, centers = torch.tensor([[1.0, 0], [0, 1.0], [1.0, 0]]), torch.tensor([[1.0, 0], [0, 1.0], [1.0, 0]])
    intent = torch.tensor([0, 1, 0])
    apart, same = math.log(1 + math.exp(-1)), math.log(2 + math.exp(-1))  # against one other; with a twin
    assert intent_contrast(views, centers, intent, 1.0, True).item() == pytest.approx(
        (apart * 2 + math.log(1 + 2 * math.exp(-1))) / 3
    )
    assert intent_contrast(views, centers, intent, 1.0, False).item() == pytest.approx(
        (same * 2 + math.log(1 + 2 * math.exp(-1))) / 3
    )


def test_the_e_step_finds_the_clusters():
    # Two kinds of shoppers who share no item.
    split = make_split({f"u{u}": [f"i{5 * (u % 2) + (u + j) % 5}" for j in range(4)] for u in range(12)})
    model = model_class("ICLRec")(embedding_size=4, epochs=1, intents=2, init_std=1.0, dropout=0.0, layers=1).fit(split)
    assert model.net.centers.shape == (2, 4), "each epoch of a fit begins with it"
    learn = model.training_sequences(split)
    model.before_epoch(learn, 2)
    states = model._encode(learn.drop_last(), model.net.whole, 4)
    nearest = torch.cdist(states, model.net.centers).argmin(1)
    for k in range(2):  # k-means has come to rest: each centre is the mean of its own
        torch.testing.assert_close(model.net.centers[k], states[nearest == k].mean(0), atol=1e-4, rtol=1e-4)
    assert "centers" not in model.state(), "serving needs none"
