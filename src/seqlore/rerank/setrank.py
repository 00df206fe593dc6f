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
from seqlore.rerank.layers import AttentionBlock
from seqlore.rerank.listwise import ListwiseConfig, ListwiseNet
from seqlore.rerank.ranker import NetReranker


class SetRankConfig(ListwiseConfig):
    """Settings of SetRank."""

    layers: int = Field(default=2, ge=1, description="Blocks.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 2 d.")
    block: Literal["imsab", "msab"] = Field(
        default="imsab", description="With induced points, or every candidate to every."
    )
    induced: int = Field(default=20, ge=1, description="Points M of IMSAB.")
    ordinal: bool = Field(
        default=False, description="Read the place of each candidate in the list; not equivariant then."
    )
    places: int = Field(
        default=100, ge=1, description="Places that have a vector (ordinal); later ones share the last."
    )


class SetBlock(nn.Module):
    """MSAB(X) = MAB(X, X); with M induced points I, IMSAB(X) = MAB(X, MAB(I, X))."""

    def __init__(self, width: int, heads: int, dropout: float, *, inner: int, points: int) -> None:
        """Args: points: M; 0 = none."""
        super().__init__()
        self.give = AttentionBlock(width, heads, dropout, inner=inner)
        self.gather = AttentionBlock(width, heads, dropout, inner=inner) if points else None
        self.points = nn.Parameter(torch.empty(points, width))
        nn.init.xavier_uniform_(self.points)

    def forward(self, x: Tensor, listed: Tensor) -> Tensor:
        """[B, C, d] → [B, C, d]; listed: bool [B, C]."""
        if self.gather is None:
            return self.give(x, x, listed)
        return self.give(x, self.gather(self.points.expand(len(x), -1, -1), x, listed))


class SetRankNet(ListwiseNet):
    """Item vectors → row-wise feed-forward → blocks → row-wise feed-forward → one score a candidate."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        d, p, inner = config.embedding_size, config.dropout, config.inner_size or 2 * config.embedding_size
        self.place = nn.Embedding(config.places, d) if config.ordinal else None
        self.input = nn.Linear(d, d)
        self.dropout = Dropout(p)
        points = config.induced if config.block == "imsab" else 0
        self.blocks = nn.ModuleList(
            SetBlock(d, config.heads, p, inner=inner, points=points) for _ in range(config.layers)
        )
        self.output = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 1))

    def arrange(self, candidates: Tensor, listed: Tensor) -> Tensor:
        x = candidates
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
