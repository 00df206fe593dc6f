"""SetRank: self-attention over the candidates as a set; their order in the input changes nothing.

Pang et al., "SetRank: Learning a Permutation-Invariant Ranking Model for Information Retrieval", SIGIR 2020
(10.1145/3397271.3401104). Blocks are MSAB, or IMSAB, whose M learned points stand between the candidates and make
the cost linear in their number.

``ordinal`` adds their ordinal embedding of the initial rank, with which order is read again. As Zhang et al. (COLING
2025) run it, the base does not see the history: ``reads_history`` lets it. Differs from the paper: the input of a
candidate is a learned item vector; two blocks of width 64 by default (theirs six of width 256).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Dropout
from seqlore.rerank.augment import Augmentation
from seqlore.rerank.layers import AttentionBlock, HistoryReader
from seqlore.rerank.lists import ListBatch
from seqlore.rerank.ranker import NetReranker, RankerConfig, RankerNet


class SetRankConfig(RankerConfig):
    """Settings of SetRank."""

    layers: int = Field(2, ge=1, description="Blocks.")
    heads: int = Field(2, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(None, ge=1, description="Width of the feed-forward; None = 2 d.")
    block: Literal["imsab", "msab"] = Field("imsab", description="With induced points, or every candidate to every.")
    induced: int = Field(20, ge=1, description="Points M of IMSAB.")
    ordinal: bool = Field(False, description="Read the place of each candidate in the list; not equivariant then.")
    places: int = Field(100, ge=1, description="Places that have a vector (ordinal); later ones share the last.")
    reads_history: bool = Field(False, description="Candidates also attend to the history (not as published).")


class InducedBlock(nn.Module):
    """IMSAB_M(X) = MAB(X, MAB(I, X)), I the induced points."""

    def __init__(self, points: int, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.gather, self.give = AttentionBlock(*args, **kwargs), AttentionBlock(*args, **kwargs)
        self.points = nn.Parameter(torch.empty(points, args[0]))
        nn.init.xavier_uniform_(self.points)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """[B, C, d] → [B, C, d]; there: bool [B, C]."""
        return self.give(x, self.gather(self.points.expand(len(x), -1, -1), x, there))


class WholeBlock(AttentionBlock):
    """MSAB(X) = MAB(X, X)."""

    def forward(self, x: Tensor, there: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """[B, C, d] → [B, C, d]; there: bool [B, C]."""
        return super().forward(x, x, there)


class SetRankNet(RankerNet):
    """Item vectors → row-wise feed-forward → blocks → row-wise feed-forward → one score a candidate."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        d, p, inner = config.embedding_size, config.dropout, config.inner_size or 2 * config.embedding_size
        self.reader = HistoryReader(d, config.heads, p) if config.reads_history else None
        self.place = nn.Embedding(config.places, d) if config.ordinal else None
        self.input = nn.Linear(d, d)
        self.dropout = Dropout(p)
        shape = {"inner": inner}
        self.blocks = nn.ModuleList(
            InducedBlock(config.induced, d, config.heads, p, **shape)
            if config.block == "imsab"
            else WholeBlock(d, config.heads, p, **shape)
            for _ in range(config.layers)
        )
        self.output = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 1))

    @property
    def reads_history(self) -> bool:
        return self.reader is not None

    def order(self, batch: ListBatch, candidates: Tensor, listed: Tensor, history: Tensor | None) -> Tensor:
        x = candidates
        if self.reader is not None and history is not None:
            x = self.reader(x, history, batch.read)
        if self.place is not None:
            x = x + self.place(torch.arange(x.shape[1], device=x.device).clamp_max(self.config.places - 1))
        x = self.dropout(self.input(x))
        for block in self.blocks:
            x = block(x, listed)
        return self.output(x)[..., 0]


class SetRank(NetReranker):
    """Permutation-equivariant ranking of sets."""

    paper = "Pang et al., SIGIR 2020, 10.1145/3397271.3401104"
    Config: ClassVar[type[Config]] = SetRankConfig
    Net = SetRankNet
