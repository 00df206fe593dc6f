"""BSARec: self-attention mixed with a filter that rescales the high frequencies of a sequence.

Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the Self-Attention", AAAI 2024
(10.1609/aaai.v38i8.28747, arXiv 2312.10325).

A block is α·filter + (1 − α)·attention and a feed-forward, each with residual and layer norm after it, as published;
the filter keeps the ``cutoff`` // 2 + 1 lowest frequencies and multiplies the rest by a learned β² for each dimension.
The filter reads every event of a sequence at each, so a training sequence cannot be trained at all its positions at
once without reading its targets: as published, each prefix is a sequence of its own, with its last position trained.
Prefixes are batched by length and never padded to ``max_length``. ``causal=True`` lets the filter read only what came
before; all positions are then trained in one pass, and an epoch costs less than half.

Differs: the transform is over ``max_length`` steps with zeros before the first event, where the authors' sequences
begin with padding vectors. A low-pass filter of such a signal is one product with a matrix of T × T, which is how it is
computed. Full softmax over the catalogue, as published; an output bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Sequences
from seqlore.models.causal import CausalNet
from seqlore.models.layers import Attention, Dropout, init_weights, picked, positions
from seqlore.models.net import NetConfig, NetRecommender
from seqlore.training.batches import plan


class BSARecConfig(NetConfig):
    """Settings of BSARec."""

    layers: int = Field(default=2, ge=1, description="Blocks.")
    heads: int = Field(default=1, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    alpha: float = Field(
        default=0.7, ge=0, le=1, description="Share of the filter in a block; the rest is attention's."
    )
    cutoff: int = Field(default=5, ge=0, description="c: frequencies up to c // 2 are low and pass as they are.")
    causal: bool = Field(
        default=False, description="The filter reads only earlier events, and one pass trains all positions."
    )
    batch_tokens: int = Field(default=4096, ge=1, description="Padded positions in a batch.")


def low_pass(steps: int, period: int, kept: int) -> Tensor:
    """The filter that keeps the ``kept`` lowest of period // 2 + 1 frequencies, as a matrix [steps, steps].

    Transforming a signal of ``period`` steps, dropping its higher frequencies and transforming back is a circular
    convolution, so what step t gets from step s depends on (t − s) mod ``period`` alone.
    """
    passed = torch.zeros(period // 2 + 1, dtype=torch.float64)
    passed[:kept] = 1
    kernel = torch.fft.irfft(passed.to(torch.complex128), n=period)
    step = torch.arange(steps)
    return kernel[(step[:, None] - step) % period].float()


class BSARecBlock(nn.Module):
    """x [B, T, d] → [B, T, d], or [B, 1, d] of the position ``at`` [B] of each row; ``low`` is the low-pass matrix."""

    def __init__(self, c: BSARecConfig) -> None:
        super().__init__()
        d, inner = c.embedding_size, c.inner_size or 4 * c.embedding_size
        self.alpha = c.alpha
        self.beta = nn.Parameter(torch.randn(d))
        self.attention = Attention(d, c.heads, c.dropout)
        self.feed_forward = nn.Sequential(nn.Linear(d, inner), nn.GELU(), nn.Linear(inner, d))
        self.norm_filter, self.norm_attention, self.norm_feed_forward = (nn.LayerNorm(d) for _ in range(3))
        self.dropout = Dropout(c.dropout)

    def forward(self, x: Tensor, low: Tensor, at: Tensor | None = None) -> Tensor:
        attended = self.attention(x, causal=True, at=at)
        slow = (low if at is None else low[at][:, None]) @ x
        x = x if at is None else picked(x, at)
        filtered = self.norm_filter(x + self.dropout(slow + self.beta**2 * (x - slow)))
        attended = self.norm_attention(x + self.dropout(attended))
        x = self.alpha * filtered + (1 - self.alpha) * attended
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class BSARecNet(CausalNet):
    """Items [B, T] → states [B, T, d]; the last state predicts what follows (with ``causal``: each state does)."""

    config: BSARecConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        d = c.embedding_size
        self.position = nn.Embedding(c.max_length, d)
        self.input_norm, self.dropout = nn.LayerNorm(d), Dropout(c.dropout)
        self.blocks = nn.ModuleList(BSARecBlock(c) for _ in range(c.layers))
        init_weights(self.blocks)
        nn.init.normal_(self.position.weight, std=0.02)
        low = low_pass(c.max_length, c.max_length, c.cutoff // 2 + 1)
        self.register_buffer("low", low.tril() if c.causal else low, persistent=False)

    def hidden(self, items: Tensor, lengths: Tensor, at: Tensor | None = None) -> Tensor:
        """[B, T, d]; with ``at`` [B], the states at that position alone, [B, 1, d]."""
        # From the latest event, as published (left padding); a causal net's positions must not tell what is to come.
        back = None if self.config.causal else lengths
        steps = items.shape[1]
        x = self.items(items) + self.position(positions(steps, back, self.config.max_length, device=items.device))
        # Nothing is where padding stands, and nothing of it may flow from block to block.
        real = (torch.arange(steps, device=items.device) < lengths[:, None])[..., None]
        x = self.dropout(self.input_norm(x)) * real
        low = self.low[:steps, :steps]  # type: ignore[index]
        for block in self.blocks[:-1]:
            x = block(x, low) * real
        return self.blocks[-1](x, low, at=at)

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        return self.hidden(items, lengths, at=lengths - 1)[:, 0]

    def forward(self, batch: tuple[Tensor, ...]) -> Tensor:
        """(items [B, T], lengths [B], targets [B]) → loss of predicting what follows; causal: as any causal net."""
        if self.config.causal:
            items, users = batch
            return super().forward((items, users))
        items, lengths, targets = batch
        return self.objective(self.last_hidden(items, lengths), targets)


class BSARec(NetRecommender):
    """Self-attention beyond a low-pass filter."""

    paper = "Shin et al., AAAI 2024, 10.1609/aaai.v38i8.28747"
    Config: ClassVar[type[Config]] = BSARecConfig
    Net = BSARecNet

    def batches(self, train: Sequences, epoch: int, shard: tuple[int, int]) -> Iterator[Any]:
        """(items [B, T], lengths [B], targets [B]) of all prefixes, batched by length; only their ends are written."""
        if self.config.causal:
            yield from super().batches(train, epoch, shard)
            return
        position = np.arange(len(train.items)) - np.repeat(train.offsets[:-1], train.lengths)  # in its sequence
        stops = np.flatnonzero(position > 0)  # of the prefix whose target stands there
        lengths = position[stops]
        rank, world = shard
        chosen = plan(lengths, self.config.batch_tokens, np.random.default_rng((self.config.seed, epoch)))
        for index in chosen[rank : len(chosen) - len(chosen) % world if world > 1 else None : world]:
            stop = stops[index]
            prefixes = train.slice(stop - lengths[index], stop, np.zeros(len(index), np.int64))
            arrays = prefixes.padded().astype(np.int64), lengths[index], train.items[stop].astype(np.int64)
            yield tuple(torch.from_numpy(each) for each in arrays)
