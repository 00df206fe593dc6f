"""eSASRec: SASRec with LiGR blocks, the next item as target at every position, and a softmax loss.

Tikhonovich et al., "eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion", RecSys 2025 (arXiv
2508.06450); the block is that of Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable
Impact", 2025 (arXiv 2502.03417).

A LiGR block is pre-norm attention and a SwiGLU feed-forward without biases, four times as wide as the model; before
either is added to the residual stream, a gate σ(W x + b) that reads the stream is multiplied with it. Defaults are
those that the authors' repository holds for this split of Beauty: width 256, one block, one head, dropout 0.2.
Differs: the loss is the full softmax up to 100,000 items and sampled softmax beyond (``loss="sampled"``,
``negatives=256`` is theirs; ours shares the draws in a batch and corrects by log q); an output bias.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.causal import CausalNet
from seqlore.models.layers import Attention, Dropout, init_weights, positions
from seqlore.models.net import NetConfig, NetRecommender


class ESASRecConfig(NetConfig):
    """Settings of eSASRec."""

    embedding_size: int = Field(default=256, ge=1, description="Width d of item vectors and hidden states.")
    layers: int = Field(default=1, ge=1, description="LiGR blocks.")
    heads: int = Field(default=1, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    dropout: float = Field(
        default=0.2, ge=0, lt=1, description="Dropout on the input, in attention and after each sublayer."
    )


class SwiGLU(nn.Module):
    """[..., d] → [..., d]: silu(W₁x) ⊙ W₂x, mapped back."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.gate, self.value = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.output = nn.Linear(inner, width, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.dropout(F.silu(self.gate(x)) * self.value(x)))


class LiGRBlock(nn.Module):
    """x [B, T, d] → x + σ(W x) ⊙ attention(norm x), then the same with the feed-forward."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = SwiGLU(width, inner, dropout)
        self.gate_attention, self.gate_feed_forward = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        attended = self.dropout(self.attention(self.norm_attention(x), causal=True))
        x = x + torch.sigmoid(self.gate_attention(x)) * attended
        fed = self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        return x + torch.sigmoid(self.gate_feed_forward(x)) * fed


class ESASRecNet(CausalNet):
    """Items [B, T] → states [B, T, d]; the state at t predicts event t + 1."""

    config: ESASRecConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        d = c.embedding_size
        self.position = nn.Embedding(c.max_length, d)
        self.dropout = Dropout(c.dropout)
        self.blocks = nn.ModuleList(LiGRBlock(d, c.heads, c.inner_size or 4 * d, c.dropout) for _ in range(c.layers))
        self.output_norm = nn.LayerNorm(d)
        init_weights(self.blocks)
        nn.init.normal_(self.position.weight, std=0.02)

    def hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, d]."""
        place = positions(items.shape[1], None, self.config.max_length, device=items.device)
        x = self.dropout(self.items(items) + self.position(place))
        for block in self.blocks:
            x = block(x)
        return self.output_norm(x)


class eSASRec(NetRecommender):
    """SASRec with LiGR blocks."""

    paper = "Tikhonovich et al., RecSys 2025, arXiv 2508.06450"
    Config: ClassVar[type[Config]] = ESASRecConfig
    Net = ESASRecNet
