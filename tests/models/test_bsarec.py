"""BSARec: its filter is the published transform, and each prefix is trained once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqlore.data import Sequences
from seqlore.models.bsarec import BSARecConfig, BSARecNet, low_pass
from seqlore.recommender import model_class

COUNTS = np.array([0, 1, 1, 1, 1])


def net(**settings) -> BSARecNet:
    torch.manual_seed(0)
    return BSARecNet(COUNTS, BSARecConfig(embedding_size=4, max_length=6, init_std=1.0, **settings), None).eval()


@pytest.mark.parametrize("period", [6, 7])
@pytest.mark.parametrize("kept", [1, 2, 4])
def test_the_matrix_is_the_transform(period: int, kept: int):
    x = torch.randn(period, 3)
    spectrum = torch.fft.rfft(x, dim=0, norm="ortho")
    spectrum[kept:] = 0
    expected = torch.fft.irfft(spectrum, n=period, dim=0, norm="ortho")
    torch.testing.assert_close(low_pass(period, period, kept) @ x, expected, atol=1e-6, rtol=1e-5)


def test_the_lowest_frequency_alone_is_the_mean():
    torch.testing.assert_close(low_pass(3, 4, 1), torch.full((3, 3), 0.25))


def test_a_block_mixes_filter_and_attention():
    model = net(alpha=1.0, layers=1)
    block = model.blocks[0]
    x = torch.randn(1, 3, 4)
    low = model.low[:3, :3]
    with torch.no_grad():
        slow = low @ x
        mixed = block.norm_filter(x + slow + block.beta**2 * (x - slow))
        torch.testing.assert_close(block(x, low), block.norm_feed_forward(mixed + block.feed_forward(mixed)))


@pytest.mark.parametrize("causal", [False, True])
def test_only_the_causal_filter_keeps_the_future_out(causal: bool):
    model = net(causal=causal)
    a, b = (model.hidden(torch.tensor([[1, 2, last]]), torch.tensor([3])) for last in (3, 4))
    assert torch.allclose(a[:, :2], b[:, :2]) == causal


def test_padding_changes_no_state():
    model = net()
    alone = model.last_hidden(torch.tensor([[1, 2]]), torch.tensor([2]))
    padded = model.last_hidden(torch.tensor([[1, 2, 0, 0], [1, 2, 3, 4]]), torch.tensor([2, 4]))
    torch.testing.assert_close(padded[:1], alone)


@pytest.mark.parametrize("causal", [False, True])
def test_the_last_state_alone_is_the_last_of_all(causal: bool):
    model = net(causal=causal)
    items, lengths = torch.tensor([[1, 2, 0, 0], [1, 2, 3, 4]]), torch.tensor([2, 4])
    whole = model.hidden(items, lengths)[torch.arange(2), lengths - 1]
    torch.testing.assert_close(model.last_hidden(items, lengths), whole)


def test_an_epoch_shows_every_prefix_once():
    model = model_class("BSARec")(batch_tokens=6)
    train = Sequences.from_lists([[1, 2, 3], [4, 1], [2, 3, 4, 1]])
    shown = []
    for items, lengths, targets in model.batches(train, 1, (0, 1)):
        shown += [(items[i, : lengths[i]].tolist(), int(targets[i])) for i in range(len(items))]
    expected = [([1], 2), ([1, 2], 3), ([4], 1), ([2], 3), ([2, 3], 4), ([2, 3, 4], 1)]
    assert sorted(shown) == sorted(expected)
