"""FDSA: one transformer over the items, another over their attributes, joined at the end.

Zhang et al., "Feature-level Deeper Self-Attention Network for Sequential Recommendation", IJCAI 2019
(10.24963/ijcai.2019/600).

An item's attributes are weighed by attention of their own into one vector, as published. Published attributes are
category, brand and topics of the text; here they are what the columns ``attributes`` hold (Amazon Beauty as it comes
with Seqlore's recipes has categories only), and texts enter by ``item_init``.
Differs: full softmax over the catalogue at every position instead of BCE with one negative at the last; pre-norm blocks
with GELU and a feed-forward four times as wide, as this package's SASRec, so that what it differs by is the second
stream; an item without attributes is read as an attribute of its own kind; an output bias.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.data import Split
from seqlore.models.attributes import attribute_table
from seqlore.models.causal import CausalNet
from seqlore.models.layers import Block, Dropout, init_weights, positions
from seqlore.models.net import NetConfig, NetRecommender


class FDSAConfig(NetConfig):
    """Settings of FDSA."""

    layers: int = Field(default=2, ge=1, description="Transformer blocks of each stream.")
    heads: int = Field(default=2, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    block_dropout: float = Field(default=0.2, ge=0, lt=1, description="Dropout in the blocks.")
    attributes: tuple[str, ...] = Field(
        default=("categories", "brand"),
        min_length=1,
        description="Columns of the items with attributes; absent ones are skipped.",
    )


class Stream(nn.Module):
    """Positions and a causal transformer: [B, T, d] → [B, T, d]."""

    def __init__(self, c: FDSAConfig) -> None:
        super().__init__()
        d = c.embedding_size
        self.position = nn.Embedding(c.max_length, d)
        nn.init.normal_(self.position.weight, std=0.02)
        self.input_norm, self.output_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = Dropout(c.dropout)
        inner = c.inner_size or 4 * d
        self.blocks = nn.ModuleList(
            Block(d, c.heads, c.block_dropout, inner=inner, pre_norm=True) for _ in range(c.layers)
        )
        init_weights(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position(positions(x.shape[1], None, len(self.position.weight), device=x.device))
        x = self.dropout(self.input_norm(x))
        for block in self.blocks:
            x = block(x, causal=True)
        return self.output_norm(x)


class FDSANet(CausalNet):
    """Items [B, T] → states [B, T, d]; the state at t predicts event t + 1."""

    config: FDSAConfig
    attributes: Tensor

    def __init__(self, counts: np.ndarray, config: FDSAConfig, text: Tensor | None, attributes: Tensor) -> None:
        """Args: as of ``SequenceNet``. attributes: int64 [size, A] of each item, 0 pads."""
        super().__init__(counts, config, text)
        d = config.embedding_size
        self.register_buffer("attributes", attributes)
        self.attribute = nn.Embedding(int(attributes.max()) + 1, d)  # row 0 is met where an item has none
        nn.init.normal_(self.attribute.weight, std=config.init_std)
        self.weigh = nn.Linear(d, 1)
        self.item_stream, self.attribute_stream = Stream(config), Stream(config)
        self.join = nn.Linear(2 * d, d)

    def described(self, items: Tensor) -> Tensor:
        """One vector of an item's attributes, weighed by attention: [...] → [..., d]."""
        index = self.attributes[items]  # [..., A]
        real = index > 0
        real[..., 0] = True
        x = self.attribute(index)
        weight = self.weigh(x)[..., 0].masked_fill(~real, -torch.inf).softmax(-1)
        return (weight[..., None] * x).sum(-2)

    def hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, d]."""
        states = self.item_stream(self.items(items)), self.attribute_stream(self.described(items))
        return self.join(torch.cat(states, 2))


class FDSA(NetRecommender):
    """Self-attention over items and, apart, over their attributes."""

    paper = "Zhang et al., IJCAI 2019, 10.24963/ijcai.2019/600"
    Config: ClassVar[type[Config]] = FDSAConfig
    Net = FDSANet

    def net_arguments(self, split: Split) -> dict[str, Any]:
        return {"attributes": torch.from_numpy(attribute_table(split.catalog, self.config.attributes))}

    def saved_arguments(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"attributes": state["attributes"]}
