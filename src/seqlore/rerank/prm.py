"""PRM: a transformer over the list, with the place of each candidate in it.

Pei et al., "Personalized Re-ranking for Recommendation", RecSys 2019 (10.1145/3298689.3347000).

The paper adds a personalised vector from a model that was trained before; Zhang et al. (COLING 2025) run their base
without one, blind to the history, and so it is here. ``reads_history`` puts in its place what each candidate finds in
the history, learned together with the rest. Differs from the paper: two blocks by default (theirs four), GELU.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Block, Dropout, init_weights
from seqlore.rerank.augment import Augmentation
from seqlore.rerank.listwise import ListwiseConfig, ListwiseNet
from seqlore.rerank.ranker import NetReranker


class PRMConfig(ListwiseConfig):
    """Settings of PRM."""

    layers: int = Field(default=2, ge=1, description="Transformer blocks.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")
    places: int = Field(
        default=100, ge=1, description="Places in the list that have a vector; later ones share the last."
    )


class PRMNet(ListwiseNet):
    """Item and place vectors → post-norm transformer blocks → one score a candidate."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        d, p = config.embedding_size, config.dropout
        self.place = nn.Embedding(config.places, d)
        self.input = nn.Linear(d, d)
        self.blocks = nn.ModuleList(
            Block(d, config.heads, p, inner=config.inner_size or 4 * d, pre_norm=False) for _ in range(config.layers)
        )
        self.dropout = Dropout(p)
        self.output = nn.Linear(d, 1)
        init_weights(self.blocks)
        nn.init.normal_(self.place.weight, std=config.init_std)

    def arrange(self, candidates: Tensor, listed: Tensor) -> Tensor:
        at = torch.arange(candidates.shape[1], device=candidates.device).clamp_max(self.config.places - 1)
        x = self.dropout(self.input(candidates + self.place(at)))
        for block in self.blocks:
            x = block(x, causal=False, keys=listed)
        return self.output(x)[..., 0]


class PRM(NetReranker):
    """Personalised re-ranking model."""

    paper = "Pei et al., RecSys 2019, 10.1145/3298689.3347000"
    Config: ClassVar[type[Config]] = PRMConfig
    Net = PRMNet
