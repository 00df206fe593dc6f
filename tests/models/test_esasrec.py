"""eSASRec: the gates of its blocks, by hand."""

from __future__ import annotations

import numpy as np
import torch

from seqlore.models.esasrec import ESASRecConfig, ESASRecNet, LiGRBlock, SwiGLU


def test_swiglu_by_hand():
    unit = SwiGLU(1, 2, 0.0).eval()
    with torch.no_grad():
        unit.gate.weight[:] = torch.tensor([[1.0], [0.0]])
        unit.value.weight[:] = torch.tensor([[2.0], [5.0]])
        unit.output.weight[:] = torch.tensor([[3.0, 7.0]])
        # silu(1) · 2 · 3, and silu(0) = 0 closes the other way.
        torch.testing.assert_close(unit(torch.tensor([[1.0]])), torch.sigmoid(torch.tensor([[1.0]])) * 6)


def test_gates_let_nothing_half_or_all_of_a_sublayer_through():
    torch.manual_seed(0)
    block = LiGRBlock(4, 2, 8, 0.0).eval()
    x = torch.randn(1, 3, 4)
    with torch.no_grad():
        for gate in (block.gate_attention, block.gate_feed_forward):
            torch.nn.init.zeros_(gate.weight)
            torch.nn.init.constant_(gate.bias, -100.0)
        torch.testing.assert_close(block(x), x)
        attended = block.attention(block.norm_attention(x), causal=True)
        torch.nn.init.zeros_(block.gate_attention.bias)
        torch.testing.assert_close(block(x), x + attended / 2)
        torch.nn.init.constant_(block.gate_feed_forward.bias, 100.0)
        half = x + attended / 2
        torch.testing.assert_close(block(x), half + block.feed_forward(block.norm_feed_forward(half)))


def test_the_gate_reads_the_stream():
    torch.manual_seed(0)
    block = LiGRBlock(4, 1, 8, 0.0).eval()
    x = torch.randn(1, 2, 4)
    with torch.no_grad():
        attended = block.attention(block.norm_attention(x), causal=True)
        x1 = x + torch.sigmoid(block.gate_attention(x)) * attended
        fed = block.feed_forward(block.norm_feed_forward(x1))
        torch.testing.assert_close(block(x), x1 + torch.sigmoid(block.gate_feed_forward(x1)) * fed)


def test_the_future_is_not_read():
    torch.manual_seed(0)
    net = ESASRecNet(np.array([0, 1, 1, 1]), ESASRecConfig(embedding_size=8), None).eval()
    a, b = (net.hidden(torch.tensor([[1, 2, last]]), torch.tensor([3])) for last in (1, 3))
    assert torch.equal(a[:, :2], b[:, :2])
