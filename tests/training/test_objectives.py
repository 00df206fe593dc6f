"""Objectives against their formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from seqlore.training import objectives
from seqlore.training.objectives import binary, full_softmax, gbce_beta, sampled_softmax


def world(m: int = 7, n: int = 11, d: int = 5) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(3)
    hidden = torch.randn(m, d, generator=g, dtype=torch.float64).requires_grad_()
    table = torch.randn(n + 1, d, generator=g, dtype=torch.float64).requires_grad_()
    bias = torch.randn(n + 1, generator=g, dtype=torch.float64).requires_grad_()
    targets = torch.randint(1, n + 1, (m,), generator=g)
    return hidden, table, bias, targets


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


def test_padding_gets_no_gradient():
    hidden, table, bias, targets = world()
    full_softmax(hidden, targets, table, bias).backward()
    assert table.grad is not None
    assert table.grad[0].abs().sum() == 0
    assert bias.grad is not None
    assert bias.grad[0] == 0


def test_sampled_softmax_by_hand():
    # One state, target score ln 6, one negative with score ln 2 drawn once with q = 1/2: corrected by its expected
    # count S·q = 1/2 → 4; the target's by q alone, S being shared: ln 6 − ln q(target) = ln 24 at q = 1/4.
    hidden = torch.tensor([[1.0]])
    log_q = torch.tensor([0.0, math.log(0.25), math.log(0.5)])
    loss = sampled_softmax(
        hidden,
        torch.tensor([[math.log(6.0)]]),
        torch.tensor([1]),
        torch.tensor([[math.log(2.0)]]),
        torch.tensor([2]),
        log_q,
    )
    assert loss.item() == pytest.approx(-math.log(24 / (24 + 4)), abs=1e-6)


def test_sampled_softmax_estimates_the_full_gradient():
    """With many uniform draws and the target's own correction, the sampled loss approaches the full one."""
    hidden, table, bias, targets = (t.float() if t.is_floating_point() else t for t in world(m=5, n=8))
    hidden, table = hidden.detach().requires_grad_(), table.detach()
    log_q = torch.full((9,), math.log(1 / 8))
    sampled = torch.randint(1, 9, (200_000,), generator=torch.Generator().manual_seed(0))
    # The target's place in the partition is taken by itself: make its correction that of certain presence.
    full = torch.autograd.grad(full_softmax(hidden, targets, table, bias.detach()), hidden)[0]
    corrected = log_q.clone()
    loss = sampled_softmax(hidden, table[targets], targets, table[sampled], sampled, corrected, bias.detach())
    estimate = torch.autograd.grad(loss, hidden)[0]
    cosine = F.cosine_similarity(full.flatten(), estimate.flatten(), dim=0)
    assert cosine > 0.9


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
