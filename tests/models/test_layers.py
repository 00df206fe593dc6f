"""Dropout that is fast on a CPU is still dropout; attention without it equals the fused kernel."""

from __future__ import annotations

import pytest
import torch

from seqlore.models.layers import Attention, Block, Dropout, positions, through


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_share(p: float):
    torch.manual_seed(0)
    x = torch.ones(1001, 101)
    y = Dropout(p)(x)
    assert (y == 0).float().mean().item() == pytest.approx(round(256 * p) / 256, abs=0.005)
    assert y.mean().item() == pytest.approx(1.0, abs=0.02)
    assert len(y.unique()) == 2


def test_dropout_is_off_in_evaluation_and_follows_the_seed():
    x = torch.randn(5, 7)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    torch.manual_seed(3)
    a = Dropout(0.5)(x)
    torch.manual_seed(3)
    assert torch.equal(a, Dropout(0.5)(x))


@pytest.mark.parametrize("causal", [True, False])
def test_attention_written_out_equals_the_fused_kernel(causal: bool):
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.5)
    x = torch.randn(3, 5, 8)
    keys = None if causal else torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], dtype=torch.bool)
    fused = attention.eval()(x, causal=causal, keys=keys)
    attention.train()
    attention.dropout = torch.nn.Identity()  # its arithmetic, without its masks
    attention.dropout.threshold = 1
    torch.testing.assert_close(attention(x, causal=causal, keys=keys), fused)


def test_a_causal_block_does_not_see_the_future():
    torch.manual_seed(0)
    block = Block(8, 2, 0.0, inner=16, pre_norm=True).eval()
    x = torch.randn(1, 6, 8)
    y = x.clone()
    y[:, 4:] += 1
    torch.testing.assert_close(block(x, causal=True)[:, :4], block(y, causal=True)[:, :4])


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_one_position_alone_is_what_all_give_there(train: bool, causal: bool, pre_norm: bool):
    torch.manual_seed(0)
    blocks = torch.nn.ModuleList(Block(8, 2, 0.0, inner=16, pre_norm=pre_norm) for _ in range(2)).train(train)
    x, at = torch.randn(3, 5, 8, requires_grad=True), torch.tensor([4, 0, 2])
    keys = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]], dtype=torch.bool)
    whole = through(blocks, x, causal=causal, keys=None if causal else keys)[torch.arange(3), at]
    alone = through(blocks, x, causal=causal, keys=None if causal else keys, at=at)
    assert alone.shape == (3, 1, 8)
    torch.testing.assert_close(alone[:, 0], whole)
    weights = [x, *blocks.parameters()]
    toward = torch.randn(3, 8)
    expected = torch.autograd.grad((whole * toward).sum(), weights)
    torch.testing.assert_close(torch.autograd.grad((alone[:, 0] * toward).sum(), weights), expected)


def test_positions_by_hand():
    cpu = torch.device("cpu")
    assert positions(4, None, 3, device=cpu).tolist() == [0, 1, 2, 2]
    assert positions(4, torch.tensor([4, 2]), 9, device=cpu).tolist() == [[3, 2, 1, 0], [1, 0, 0, 0]]
