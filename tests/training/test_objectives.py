"""Objectives against their formulas, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seqlore.training import objectives
from seqlore.training.objectives import binary, draw_items, draw_weights, full_softmax, gbce_beta, sampled_softmax


def world(m: int = 7, n: int = 11, d: int = 5) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(3)
    hidden = torch.randn(m, d, generator=g, dtype=torch.float64).requires_grad_()
    table = torch.randn(n + 1, d, generator=g, dtype=torch.float64).requires_grad_()
    bias = torch.randn(n + 1, generator=g, dtype=torch.float64).requires_grad_()
    targets = torch.randint(1, n + 1, (m,), generator=g)
    return hidden, table, bias, targets


@pytest.mark.parametrize("draws", [None, 6])
def test_weights_make_a_sum_of_weighted_terms(draws, monkeypatch):
    monkeypatch.setattr(objectives, "CPU_BLOCK", 11 * 16)  # several blocks, the last one short
    hidden, table, _, targets = (x.float() if x.is_floating_point() else x for x in world(m=37))
    hidden, table = hidden.detach().requires_grad_(), table.detach().requires_grad_()
    weights = torch.rand(37, generator=torch.Generator().manual_seed(0))
    log_q, cumulative = draw_weights(np.arange(12), 0.5)
    sampled = draw_items(cumulative, draws or 1)

    def loss(rows, w=None):
        h, t = hidden[rows], targets[rows]
        if draws is None:
            return full_softmax(h, t, table, weights=w)
        return sampled_softmax(h, table[t], t, table[sampled], sampled, log_q, weights=w)

    ours = loss(slice(None), weights)
    one_by_one = sum(w * loss(slice(i, i + 1)) for i, w in enumerate(weights))
    torch.testing.assert_close(ours, one_by_one)
    grads = [torch.autograd.grad(each, [hidden, table]) for each in (2 * ours, 2 * one_by_one)]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_items_are_drawn_by_a_power_of_their_count():
    counts = np.array([1000, 0, 3, 8])  # padding, whatever stands there, is never drawn
    log_q, cumulative = draw_weights(counts, 0.5)
    assert log_q[1:].exp().tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    torch.manual_seed(0)
    share = draw_items(cumulative, 60_000).bincount(minlength=4) / 60_000
    assert share.tolist() == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6], abs=0.01)


@pytest.mark.parametrize("with_bias", [True, False])
def test_full_softmax_has_the_value_and_gradients_of_cross_entropy(with_bias, monkeypatch):
    monkeypatch.setattr(objectives, "CPU_BLOCK", 11 * 16)  # several blocks, the last one short
    hidden, table, bias, targets = world(m=37)
    used = bias if with_bias else None
    leaves = [hidden, table, bias] if with_bias else [hidden, table]
    ours = full_softmax(hidden, targets, table, used)
    ours_grads = torch.autograd.grad(3 * ours, leaves)
    logits = hidden @ table[1:].T + (bias[1:] if with_bias else 0)
    reference = F.cross_entropy(logits, targets - 1)
    assert torch.allclose(ours.double(), reference, atol=1e-6)
    for mine, theirs in zip(ours_grads, torch.autograd.grad(3 * reference, leaves), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-10)


@pytest.mark.parametrize("weighted", [True, False])
def test_half_precision_may_come_in_on_one_side(weighted: bool, monkeypatch):
    """A table that a projection made under autocast beside states that a body gave in fp32."""
    monkeypatch.setattr(objectives, "CPU_BLOCK", 11 * 16)
    hidden, table, _, targets = (x.float().detach() if x.is_floating_point() else x for x in world(m=37))
    weights = torch.full((37,), 1 / 37) if weighted else None
    grads = []
    for kind in (torch.float32, torch.bfloat16):
        leaves = [hidden.clone().requires_grad_(), table.to(kind).requires_grad_()]
        with torch.autocast("cpu", torch.bfloat16, enabled=kind is torch.bfloat16):
            loss = full_softmax(leaves[0], targets, leaves[1], weights=weights)
        grads.append(torch.autograd.grad(loss, leaves))
        assert [g.dtype for g in grads[-1]] == [torch.float32, kind]
    for exact, half in zip(*grads, strict=True):
        assert (exact - half).abs().max() < 0.03 * exact.abs().max()


def test_padding_gets_no_gradient():
    hidden, table, bias, targets = world()
    full_softmax(hidden, targets, table, bias).backward()
    assert table.grad is not None
    assert table.grad[0].abs().sum() == 0
    assert bias.grad is not None
    assert bias.grad[0] == 0


def test_sampled_softmax_by_hand():
    # Target score ln 6; one draw of an item with score ln 2 and q = 1/2, which therefore stands for 2 / (1·½) = 4.
    loss = sampled_softmax(
        torch.tensor([[1.0]]),
        torch.tensor([[math.log(6.0)]]),
        torch.tensor([1]),
        torch.tensor([[math.log(2.0)]]),
        torch.tensor([2]),
        torch.tensor([0.0, math.log(0.25), math.log(0.5)]),
    )
    assert loss.item() == pytest.approx(-math.log(6 / (6 + 4)), abs=1e-6)


@pytest.mark.parametrize("with_bias", [True, False])
def test_sampled_softmax_has_the_value_and_gradients_of_its_formula(with_bias, monkeypatch):
    monkeypatch.setattr("seqlore.training.objectives.CPU_BLOCK", 16 * 8)  # several blocks, the last one short
    g = torch.Generator().manual_seed(3)
    hidden, table = torch.randn(41, 6, generator=g), torch.randn(10, 6, generator=g)
    bias = torch.randn(10, generator=g) if with_bias else None
    targets, sampled = torch.randint(1, 10, (41,), generator=g), torch.tensor([4, 2, 4, 9, 9, 9, 1])
    log_q = torch.rand(10, generator=g).log()
    weight = torch.tensor(2.5)  # the gradient that comes from above

    def written_out(h, t, b):
        own, others = (h * t[targets]).sum(1), h @ t[sampled].T - log_q[sampled] - math.log(7)
        if b is not None:
            own, others = own + b[targets], others + b[sampled]
        others = others.masked_fill(targets[:, None] == sampled, -torch.inf)
        return -own.sub(torch.cat([own[:, None], others], 1).logsumexp(1)).mean()

    def ours(h, t, b):
        return sampled_softmax(h, t[targets], targets, t[sampled], sampled, log_q, b)

    results = []
    for loss in (written_out, ours):
        leaves = [x.clone().requires_grad_() for x in (hidden, table, bias) if x is not None]
        value = loss(*leaves, *([] if with_bias else [None]))
        (value * weight).backward()
        results.append([value.detach(), *(x.grad for x in leaves)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_sampled_softmax_approaches_the_full_one(power: float):
    hidden, table, bias, targets = (t.float() if t.is_floating_point() else t for t in world(m=5, n=8))
    hidden, table, bias = hidden.detach().requires_grad_(), table.detach(), bias.detach()
    q = torch.arange(9.0) ** power * (torch.arange(9) > 0)
    q = q / q.sum()
    sampled = torch.multinomial(q, 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    full = full_softmax(hidden, targets, table, bias)
    loss = sampled_softmax(hidden, table[targets], targets, table[sampled], sampled, q.log(), bias)
    assert loss.item() == pytest.approx(full.item(), abs=0.02)
    exact, estimate = (torch.autograd.grad(x, hidden)[0].flatten() for x in (full, loss))
    assert F.cosine_similarity(exact, estimate, dim=0) > 0.999


def test_a_target_is_not_its_own_negative():
    hidden, table, bias, targets = world(m=1)
    log_q = torch.zeros(12, dtype=torch.float64)
    loss = sampled_softmax(hidden, table[targets], targets, table[targets], targets, log_q, bias)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


def test_binary_by_hand():
    loss = binary(torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[[0.0], [math.log(3.0)]]]))
    assert loss.item() == pytest.approx(math.log(2) + math.log(2) + math.log(4), abs=1e-6)
    half = binary(torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[[0.0]]]), beta=0.5)
    assert half.item() == pytest.approx(1.5 * math.log(2), abs=1e-6)


def test_gbce_beta_runs_from_bce_to_the_sampling_rate():
    assert gbce_beta(1, 101, 0.0) == pytest.approx(1.0)
    assert gbce_beta(1, 101, 1.0) == pytest.approx(0.01)
    assert gbce_beta(50, 101, 0.5) == pytest.approx(0.75)
    assert gbce_beta(1024, 101, 0.75) == 1.0, "more draws than there are others sample them all"
