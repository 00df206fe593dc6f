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
from seqlore.rerank.layers import HistoryReader
from seqlore.rerank.lists import ListBatch
from seqlore.rerank.ranker import NetReranker, RankerConfig, RankerNet


class PRMConfig(RankerConfig):
    """Settings of PRM."""

    layers: int = Field(2, ge=1, description="Transformer blocks.")
    heads: int = Field(2, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(None, ge=1, description="Width of the feed-forward; None = 4 d.")
    places: int = Field(100, ge=1, description="Places in the list that have a vector; later ones share the last.")
    reads_history: bool = Field(False, description="Candidates also attend to the history (not as published).")


class PRMNet(RankerNet):
    """Item and place vectors → post-norm transformer blocks → one score a candidate."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        d, p = config.embedding_size, config.dropout
        self.reader = HistoryReader(d, config.heads, p) if config.reads_history else None
        self.place = nn.Embedding(config.places, d)
        self.input = nn.Linear(d, d)
        self.blocks = nn.ModuleList(
            Block(d, config.heads, p, inner=config.inner_size or 4 * d, pre_norm=False) for _ in range(config.layers)
        )
        self.dropout = Dropout(p)
        self.output = nn.Linear(d, 1)
        init_weights(self.blocks)
        nn.init.normal_(self.place.weight, std=config.init_std)

    @property
    def reads_history(self) -> bool:
        return self.reader is not None

    def order(self, batch: ListBatch, candidates: Tensor, listed: Tensor, history: Tensor | None) -> Tensor:
        x = candidates
        if self.reader is not None and history is not None:
            x = self.reader(x, history, batch.read)
        at = torch.arange(x.shape[1], device=x.device).clamp_max(self.config.places - 1)
        x = self.dropout(self.input(x + self.place(at)))
        for block in self.blocks:
            x = block(x, causal=False, keys=listed)
        return self.output(x)[..., 0]


class PRM(NetReranker):
    """Personalised re-ranking model."""

    paper = "Pei et al., RecSys 2019, 10.1145/3298689.3347000"
    Config: ClassVar[type[Config]] = PRMConfig
    Net = PRMNet
