"""The pieces that nets share: dropout, self-attention, the transformer block."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Dropout whose masks cost little on a CPU: one random byte an element instead of a Bernoulli draw (a ninth of the
    time there). The probability is rounded to 1/256 and the scale is exact for it."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.threshold = min(255, round(256 * probability))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.threshold == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.probability)
        count = x.numel()
        words = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        # 1 for a byte at or above the threshold, else 0: on bytes much faster than a comparison.
        keep = words.view(torch.uint8)[:count].clamp_(self.threshold - 1, self.threshold).sub_(self.threshold - 1)
        return x * keep.view(x.shape).to(x.dtype).mul_(256 / (256 - self.threshold))


class Attention(nn.Module):
    """Multi-head self-attention over right-padded sequences, through ``scaled_dot_product_attention``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, *, causal: bool, keys: Tensor | None = None, at: Tensor | None = None) -> Tensor:
        """x: [B, T, d]; keys: bool [B, T], which positions may be read (None = all); at: int64 [B], the one position
        of each row that is computed (None = all) → [B, T, d], or [B, 1, d]."""
        b, t, d = x.shape
        readable = None if keys is None else keys[:, None, None, :]
        if at is None:
            q, k, v = self.query_key_value(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        else:
            # All positions are keys and values, one of them asks.
            weight, bias = self.query_key_value.weight, self.query_key_value.bias
            q = F.linear(picked(x, at), weight[:d], bias[:d]).view(b, 1, self.heads, d // self.heads).transpose(1, 2)
            k, v = F.linear(x, weight[d:], bias[d:]).view(b, t, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
            if causal:
                past = (torch.arange(t, device=x.device) <= at[:, None])[:, None, None, :]
                readable, causal = past if readable is None else past & readable, False
        if self.training and self.dropout.threshold and x.device.type == "cpu":
            # With dropout the fused kernel falls back to this very arithmetic, and to a slower mask.
            weights = q @ k.transpose(2, 3) * (d // self.heads) ** -0.5  # [B, H, T or 1, T]
            if causal:
                readable = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
            if readable is not None:
                weights = weights.masked_fill(~readable, -torch.inf)
            out = self.dropout(weights.softmax(3)) @ v
        else:
            p = self.dropout.probability if self.training else 0.0
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=readable, dropout_p=p, is_causal=causal)
        return self.output(out.transpose(1, 2).reshape(b, -1, d))


class Block(nn.Module):
    """Self-attention and feed-forward, each with residual and layer norm, before (pre) or after (post) it."""

    def __init__(
        self,
        width: int,
        heads: int,
        dropout: float,
        *,
        inner: int,
        pre_norm: bool,
        attention_dropout: float | None = None,
    ) -> None:
        """Args: attention_dropout: of attention weights; None = ``dropout``."""
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = Attention(width, heads, dropout if attention_dropout is None else attention_dropout)
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.GELU(), Dropout(dropout), nn.Linear(inner, width))
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, *, causal: bool, keys: Tensor | None = None, at: Tensor | None = None) -> Tensor:
        """[B, T, d] → [B, T, d]; with ``at`` [B], what stands at that position of each row alone: [B, 1, d].

        Where only one state of a row is read, the last of several blocks need not compute the others.
        """
        asked = x if at is None else picked(x, at)
        if self.pre_norm:
            x = asked + self.dropout(self.attention(self.norm_attention(x), causal=causal, keys=keys, at=at))
            return x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        x = self.norm_attention(asked + self.dropout(self.attention(x, causal=causal, keys=keys, at=at)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


def picked(x: Tensor, at: Tensor) -> Tensor:
    """One position of each row: x [B, T, …], at [B] → [B, 1, …]."""
    return x[torch.arange(len(x), device=x.device), at][:, None]


def through(blocks: nn.ModuleList, x: Tensor, *, at: Tensor | None = None, **reading: Any) -> Tensor:
    """All of ``blocks`` one after another, [B, T, d] → [B, T, d]; with ``at`` the last computes that position alone."""
    for block in blocks[:-1]:
        x = block(x, **reading)
    return blocks[-1](x, at=at, **reading)


def init_weights(module: nn.Module, std: float = 0.02) -> None:
    """Linear and position weights ~ N(0, std²), biases zero, as BERT starts; item tables are left as they are."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def positions(length: int, lengths: Tensor | None, limit: int, *, device: torch.device) -> Tensor:
    """Position ids, [T] counted from the first event, or [B, T] counted back from the latest (0 = latest)."""
    forward = torch.arange(length, device=device)
    if lengths is None:
        return forward.clamp_max(limit - 1)
    return (lengths[:, None] - 1 - forward).clamp(0, limit - 1)
