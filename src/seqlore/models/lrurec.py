"""LRURec: linear recurrent units instead of attention, trained in parallel, served with a state of constant size.

Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024 (10.1145/3616855.3635760), on the unit of
Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", ICML 2023 (arXiv 2303.06349).

As in the authors' code: a complex state twice as wide as the model, moduli that start between 0.8 and 0.99, phases
anywhere, inputs scaled by a learned γ that starts at √(1 − |λ|²); residual and layer norm after recurrence
and feed-forward; cross-entropy over the catalogue at every position; no positions.
Differs: the recurrence is unrolled by doubling (each pass joins spans twice as long), for any length and without
padding to a power of two, and complex products with real weights are written as real ones; the same numbers.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.causal import CausalNet
from seqlore.models.layers import Dropout, init_weights
from seqlore.models.net import NetConfig, NetRecommender


class LRURecConfig(NetConfig):
    """Settings of LRURec."""

    layers: int = Field(default=2, ge=1, description="Blocks: recurrence and feed-forward.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    block_dropout: float = Field(default=0.2, ge=0, lt=1, description="Dropout in the blocks.")
    smallest: float = Field(
        default=0.8, ge=0, lt=1, description="Smallest modulus of λ at the start: how short memory may be."
    )
    largest: float = Field(default=0.99, gt=0, lt=1, description="Largest modulus of λ at the start.")


def linear_recurrence(inputs: Tensor, decay: Tensor) -> Tensor:
    """h_t = λ·h_{t−1} + u_t at all t, in log₂ T passes: inputs u [B, T, h] and decay λ [h], complex → [B, T, h]."""
    states, shift = inputs, 1
    while shift < states.shape[1]:
        # states[t] now sums the ``shift`` latest inputs; those before them are in states[t − shift].
        states = torch.cat([states[:, :shift], states[:, shift:] + decay * states[:, :-shift]], 1)
        decay, shift = decay * decay, 2 * shift
    return states


class LinearRecurrentUnit(nn.Module):
    """x [B, T, d] → [B, T, d]: into a complex state, along the recurrence, and back by the real part of a map."""

    def __init__(self, width: int, smallest: float, largest: float) -> None:
        super().__init__()
        state = 2 * width
        low, high = smallest**2, largest**2
        modulus = (torch.rand(state) * (high - low) + low).sqrt()
        phase = torch.rand(state) * 2 * math.pi
        #: log ν, log θ and log γ: λ = exp(−ν + iθ), so that |λ| < 1 whatever is learned.
        self.logs = nn.Parameter(
            torch.stack([(-modulus.log()).log(), phase.clamp_min(1e-6).log(), (1 - modulus**2).sqrt().log()])
        )
        self.input = nn.Linear(width, 2 * state)  # real parts, then imaginary parts
        self.output = nn.Linear(2 * state, width)  # the real part of a complex map: Re(W)·Re(h) − Im(W)·Im(h)

    def decay(self) -> Tensor:
        """λ, complex [2 d]."""
        return torch.exp(torch.complex(-self.logs[0].exp(), self.logs[1].exp()))

    def forward(self, x: Tensor) -> Tensor:
        real, imaginary = (self.input(x).float() * self.logs[2].exp().repeat(2)).chunk(2, -1)
        states = linear_recurrence(torch.complex(real, imaginary), self.decay())
        return self.output(torch.cat([states.real, states.imag], -1))


class LRUBlock(nn.Module):
    """Recurrence and feed-forward, each with dropout, residual and the layer norm after it."""

    def __init__(self, c: LRURecConfig) -> None:
        super().__init__()
        d, inner = c.embedding_size, c.inner_size or 4 * c.embedding_size
        self.recurrence = LinearRecurrentUnit(d, c.smallest, c.largest)
        drop = c.block_dropout
        self.feed_forward = nn.Sequential(nn.Linear(d, inner), nn.GELU(), Dropout(drop), nn.Linear(inner, d))
        self.norm_recurrence, self.norm_feed_forward = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = Dropout(drop)
        init_weights(self.feed_forward)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_recurrence(x + self.dropout(self.recurrence(x)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class LRURecNet(CausalNet):
    """Items [B, T] → states [B, T, d]; the state at t predicts event t + 1."""

    config: LRURecConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        self.dropout, self.input_norm = Dropout(c.dropout), nn.LayerNorm(c.embedding_size)
        self.blocks = nn.ModuleList(LRUBlock(c) for _ in range(c.layers))

    def hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, d]."""
        x = self.input_norm(self.dropout(self.items(items)))
        for block in self.blocks:
            x = block(x)
        return x


class LRURec(NetRecommender):
    """Linear recurrent units."""

    paper = "Yue et al., WSDM 2024, 10.1145/3616855.3635760"
    Config: ClassVar[type[Config]] = LRURecConfig
    Net = LRURecNet
