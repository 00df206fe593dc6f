"""Objectives over a catalogue: full softmax, sampled softmax with logQ correction, BCE and gBCE.

All take hidden states only where a loss reads them, [M, d], and item representations; item 0 is padding and never
a class.

Sources: sampled softmax with logQ correction: Bengio & Senécal, 2008 (10.1109/TNN.2007.912312), with negatives shared
by the batch as in Yi et al., RecSys 2019 (10.1145/3298689.3346996), and with the target uncorrected, which Khrylchenko
et al., RecSys 2025 (arXiv 2507.09331) found to be the right form. gBCE: Petrov & Macdonald, RecSys 2023
(10.1145/3604915.3608783).
The chunked full softmax computes loss and gradients in one visit of each block of logits, so that the [M, N] matrix
never exists: written out, it costs more time in page faults than in arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

#: Logits in one block. One to three million ran fastest on CPU; on a GPU larger blocks fill the device.
CPU_BLOCK, GPU_BLOCK = 2 << 20, 1 << 28


class _LinearCrossEntropy(torch.autograd.Function):
    """Mean, or weighted sum, of −log softmax(h·Wᵀ + b)[target], with both gradients made while a block of logits is in
    the cache."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor | None
    ) -> Tensor:
        m, n = len(hidden), len(table)
        rows = max(16, min(m, (CPU_BLOCK if hidden.device.type == "cpu" else GPU_BLOCK) // n))
        # Under autocast the products run in its type, and what comes in may have it too; sums over blocks have fp32.
        kind, dtype = hidden.device.type, hidden.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        states, vectors = hidden.to(dtype), table.to(dtype)
        grad_hidden = torch.empty_like(hidden)
        grad_table = torch.zeros_like(table, dtype=_sums(table))
        grad_bias = None if bias is None else torch.zeros_like(bias)
        # Two buffers serve all blocks: an allocation a block would go back to the system and fault in again.
        logits_buffer = torch.empty(min(rows, m), n, dtype=dtype, device=hidden.device)
        share_buffer = torch.empty_like(logits_buffer)
        ones = torch.ones(1, len(logits_buffer), dtype=dtype, device=hidden.device)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, m, rows):
            h, target = states[start : start + rows], targets[start : start + rows, None]
            logits, share = logits_buffer[: len(h)], share_buffer[: len(h)]
            if bias is None:
                torch.mm(h, vectors.T, out=logits)
            else:
                torch.addmm(bias.to(dtype), h, vectors.T, out=logits)
            torch.softmax(logits, 1, out=share)
            own = share.gather(1, target)
            loss -= _total(own, weights, start)
            share.scatter_(1, target, own - 1)  # softmax − one-hot: the gradient by the logits
            if weights is not None:
                share *= weights[start : start + rows, None]
            if dtype == grad_table.dtype == grad_hidden.dtype:
                torch.mm(share, vectors, out=grad_hidden[start : start + rows])
                grad_table.addmm_(share.T, h)
            else:
                grad_hidden[start : start + rows] = torch.mm(share, vectors)
                grad_table += torch.mm(share.T, h)
            if grad_bias is not None:
                grad_bias += torch.mm(ones[:, : len(h)], share)[0]
        ctx.save_for_backward(grad_hidden, grad_table.to(table.dtype), grad_bias)
        ctx.count = m if weights is None else 1
        return loss / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0] / ctx.count
        hidden, table, bias = (g if g is None else g * scale for g in ctx.saved_tensors)
        return hidden, table, bias, None, None


def _sums(vectors: Tensor) -> torch.dtype:
    """In which a gradient is summed over blocks."""
    return torch.promote_types(vectors.dtype, torch.float32)


def _total(probabilities: Tensor, weights: Tensor | None, start: int) -> Tensor:
    """Σ w·log p over a block of rows, [B, 1], that begins at ``start``; all w = 1 where there are none."""
    logs = probabilities[:, 0].float().clamp_min(1e-38).log()
    return logs.sum() if weights is None else logs @ weights[start : start + len(logs)].float()


def full_softmax(
    hidden: Tensor, targets: Tensor, table: Tensor, bias: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy over the whole catalogue: its mean, or with ``weights`` its sum, each term so weighted.

    Args:
        hidden: [M, d]. targets: [M], item indices from 1. table: [N + 1, d]. bias: [N + 1] or None. weights: [M], to
            which no gradient goes, or None.
    """
    return _LinearCrossEntropy.apply(hidden, table[1:], None if bias is None else bias[1:], targets - 1, weights)


def draw_weights(counts: NDArray[np.integer], power: float) -> tuple[Tensor, Tensor]:
    """(log q, Σ q up to each item), [N + 1] each, in fp32 and fp64, of draws by (count + 1)^``power``.

    Args: counts: [N + 1], of items in training; what stands at 0, padding, is never drawn.
    """
    weights = (counts.astype(np.float64) + 1) ** power
    weights[0] = 0
    q = weights / weights.sum()
    log_q = torch.as_tensor(np.log(np.maximum(q, 1e-30)), dtype=torch.float32)
    return log_q, torch.as_tensor(np.cumsum(weights) / weights.sum())


def draw_items(cumulative: Tensor, n: int) -> Tensor:
    """int64 [n], with replacement, where ``cumulative`` is; by torch's random stream."""
    draws = torch.rand(n, dtype=torch.float64, device=cumulative.device)
    return torch.searchsorted(cumulative, draws, right=True).clamp_max(len(cumulative) - 1)


def sampled_softmax(
    hidden: Tensor,
    positive: Tensor,
    targets: Tensor,
    negative: Tensor,
    sampled: Tensor,
    log_q: Tensor,
    bias: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy in which S draws, shared by the batch, stand for the rest of the catalogue; mean, or weighted sum.

    Σ_{j ≠ t} exp(s_j) is estimated by Σ exp(s_j) / (S·q_j) over the draws j ≠ t, without bias. The target itself is in
    the sum with certainty and takes no correction; correcting it like a draw, as is often done, favours rare targets.

    Args:
        hidden: [M, d]. positive: [M, d], vectors of ``targets`` [M]. negative: [S, d], vectors of ``sampled`` [S],
            drawn with replacement from q. log_q: [N + 1], log q of each item. bias: [N + 1] or None. weights: as of
            :func:`full_softmax`.
    """
    offset = -log_q[sampled] - math.log(len(sampled))
    own_bias = None if bias is None else bias[targets]
    if bias is not None:
        offset = offset + bias[sampled]
    return _SampledCrossEntropy.apply(hidden, positive, own_bias, targets, negative, offset, sampled, weights)


def _hits(targets: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns), rows ascending, where a draw is the target of the row: few, so no [M, S] comparison is made."""
    order = sampled.argsort()
    ranked = sampled[order]
    first = torch.searchsorted(ranked, targets)
    count = torch.searchsorted(ranked, targets, right=True) - first
    rows = torch.repeat_interleave(count)
    within = torch.arange(len(rows), device=rows.device) - (count.cumsum(0) - count)[rows]
    return rows, order[first[rows] + within]


class _SampledCrossEntropy(torch.autograd.Function):
    """Mean, or weighted sum, of −log softmax over the own class, in the last column, and S draws; gradients made as
    above."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        positive: Tensor,
        own_bias: Tensor | None,
        targets: Tensor,
        negative: Tensor,
        offset: Tensor,
        sampled: Tensor,
        weights: Tensor | None,
    ) -> Tensor:
        m, s = len(hidden), len(sampled)
        rows = max(16, min(m, (CPU_BLOCK if hidden.device.type == "cpu" else GPU_BLOCK) // (s + 1)))
        kind, dtype = hidden.device.type, hidden.dtype
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
        states, own, others = hidden.to(dtype), positive.to(dtype), negative.to(dtype)
        grad_hidden, grad_own = torch.empty_like(hidden), torch.empty_like(positive)
        grad_others = torch.zeros_like(negative, dtype=_sums(negative))
        grad_offset = torch.zeros_like(offset)
        grad_bias = None if own_bias is None else torch.empty_like(own_bias)
        logits_buffer = torch.empty(min(rows, m), s + 1, dtype=dtype, device=hidden.device)
        share_buffer = torch.empty_like(logits_buffer)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hit_rows, hit_columns = _hits(targets, sampled)
        for start in range(0, m, rows):
            part = slice(start, start + rows)
            h, p = states[part], own[part]
            logits, share = logits_buffer[: len(h)], share_buffer[: len(h)]
            torch.addmm(offset.to(dtype), h, others.T, out=logits[:, :s])
            logits[:, s] = torch.linalg.vecdot(h, p)
            if own_bias is not None:
                logits[:, s] += own_bias[part]
            here = (hit_rows >= start) & (hit_rows < start + len(h))
            logits[hit_rows[here] - start, hit_columns[here]] = -torch.inf
            torch.softmax(logits, 1, out=share)
            drawn, target = share[:, :s], share[:, s:]
            loss -= _total(target, weights, start)
            target -= 1  # softmax − one-hot, as above
            if weights is not None:
                share *= weights[part, None]
            grad_hidden[part] = torch.mm(drawn, others).addcmul_(target, p)
            grad_own[part] = target * h
            grad_others += torch.mm(drawn.T, h)
            grad_offset += drawn.sum(0)
            if grad_bias is not None:
                grad_bias[part] = target[:, 0]
        ctx.save_for_backward(grad_hidden, grad_own, grad_bias, grad_others.to(negative.dtype), grad_offset)
        ctx.count = m if weights is None else 1
        return loss / ctx.count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0] / ctx.count
        hidden, own, bias, others, offset = (g if g is None else g * scale for g in ctx.saved_tensors)
        return hidden, own, bias, None, others, offset, None, None


def binary(
    hidden: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    positive_bias: Tensor | None = None,
    negative_bias: Tensor | None = None,
    beta: float = 1.0,
) -> Tensor:
    """Binary cross-entropy of the target against its own negatives; ``beta`` < 1 gives gBCE.

    gBCE raises the positive's probability to the power β, β = α(t(1 − 1/α) + 1/α), α = negatives / (items − 1), which
    undoes the overconfidence that few negatives breed; see :func:`gbce_beta`.

    Args:
        hidden, positive: [M, d]. negative: [M, S, d]. Biases: [M] and [M, S], or None.

    Returns: mean over M of −(β·log σ(s⁺) + Σ log σ(−s⁻)): summed over negatives as in gSASRec.
    """
    own = (hidden * positive).sum(-1)
    others = torch.einsum("md,msd->ms", hidden, negative)
    if positive_bias is not None and negative_bias is not None:
        own, others = own + positive_bias, others + negative_bias
    return -(beta * F.logsigmoid(own) + F.logsigmoid(-others).sum(1)).mean()


def gbce_beta(negatives: int, items: int, calibration: float) -> float:
    """β of gBCE for ``negatives`` drawn uniformly from ``items`` − 1 others; ``calibration`` t in [0, 1], 0 = BCE.

    Draws are independent here, so there may be more of them than others; α is the share that they sample, at most 1.
    """
    alpha = min(negatives / max(items - 1, 1), 1.0)  # a small catalogue: more draws than there are others
    return alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
