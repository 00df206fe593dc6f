"""The pieces that backbones share: the joined input, and attention between two sequences."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlore.models.layers import Dropout


class Join(nn.Module):
    """[item vector ; extra vector] → item width, a linear map that starts by letting the item vector through.

    What it adds of the extra vector starts at random (uniformly, as every linear layer of torch), so an augmented
    backbone does not begin as the plain one, unless it is silenced. Without extra vectors there is nothing to map: that
    is the plain one.
    """

    scale: Tensor

    def __init__(self, width: int, extra: int) -> None:
        super().__init__()
        self.map: nn.Linear | None = None
        if extra:
            self.map = nn.Linear(width + extra, width)
            self.register_buffer("scale", torch.tensor(1.0))  # of the extra vector
            with torch.no_grad():
                self.map.weight[:, :width] = torch.eye(width)
                self.map.bias.zero_()

    @torch.no_grad()
    def silence(self, scale: float) -> None:
        """Let the item vector through and nothing else yet; ``scale``: factor of the extra vector from now on.

        Steps of Adam are as long whatever the gradient, so a weight on an extra vector that is ten times as large as an
        item's moves what comes out ten times as far.
        """
        if self.map is not None:
            self.map.weight[:, len(self.map.weight) :] = 0
            self.scale.fill_(scale)

    def forward(self, items: Tensor, extra: Tensor) -> Tensor:
        """[..., d], [..., a] → [..., d]."""
        return items if self.map is None else self.map(torch.cat([items, self.scale * extra], -1))


def divided(config: Any) -> Any:
    """``config`` itself. Raises: ValueError: its ``heads`` do not divide its ``embedding_size``."""
    if config.embedding_size % config.heads:
        raise ValueError(
            f"embedding_size = {config.embedding_size} cannot have heads = {config.heads}: heads must divide it"
        )
    return config


class CrossAttention(nn.Module):
    """Multi-head attention of queries over keys, through ``scaled_dot_product_attention``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.probability = heads, dropout
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, there: Tensor | None = None) -> Tensor:
        """queries [B, Q, d], keys [B, K, d]; there: bool [B, K], which keys may be read (None = all) → [B, Q, d]."""
        b, n, d = queries.shape
        split = (b, -1, self.heads, d // self.heads)
        q = self.query(queries).view(split).transpose(1, 2)
        k, v = (each.view(split).transpose(1, 2) for each in self.key_value(keys).chunk(2, -1))
        mask = None if there is None else there[:, None, None, :]
        p = self.probability if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.output(out.transpose(1, 2).reshape(b, n, d))


class AttentionBlock(nn.Module):
    """MAB(X, Y) = norm(H + rFF(H)), H = norm(X + attention(X, Y, Y)): Lee et al., "Set Transformer", ICML 2019."""

    def __init__(self, width: int, heads: int, dropout: float, *, inner: int) -> None:
        super().__init__()
        self.attention = CrossAttention(width, heads, dropout)
        self.feed_forward = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), Dropout(dropout), nn.Linear(inner, width))
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor, there: Tensor | None = None) -> Tensor:
        """x [B, Q, d], y [B, K, d], there: bool [B, K] → [B, Q, d]."""
        h = self.norm_attention(x + self.dropout(self.attention(x, y, there)))
        return self.norm_feed_forward(h + self.dropout(self.feed_forward(h)))
