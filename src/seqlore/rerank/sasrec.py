"""SASRec as a scorer of candidates: the state of a causal transformer after the history, compared with each candidate.

Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (10.1109/ICDM.2018.00035), as Zhang et al. (COLING
2025) use it: the latest 150 events, whose items are augmented like the candidates (their section 3.3).

Differs from :class:`seqlore.models.sasrec.SASRec`: one target a list, the softmax runs over its candidates, and
candidates are compared by their augmented vectors; candidates do not see one another. Positions count from the latest
event, as only the state after it is read.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Block, Dropout, init_weights, positions
from seqlore.rerank.augment import Augmentation
from seqlore.rerank.layers import divided
from seqlore.rerank.lists import ListBatch
from seqlore.rerank.ranker import NetReranker, RankerConfig, RankerNet


class SASRecRerankerConfig(RankerConfig):
    """Settings of SASRecReranker."""

    history_length: int = Field(default=150, ge=1, description="Latest events that are read.")
    layers: int = Field(default=2, ge=1, description="Transformer blocks.")
    heads: int = Field(default=2, ge=1, description="Attention heads; must divide the width.")
    inner_size: int | None = Field(default=None, ge=1, description="Width of the feed-forward; None = 4 d.")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        return divided(self)


class SASRecRerankerNet(RankerNet):
    """⟨state after the latest event, candidate⟩ + the candidate's bias."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        d, p = config.embedding_size, config.dropout
        self.position = nn.Embedding(config.history_length, d)
        self.input_norm, self.output_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = Dropout(p)
        self.blocks = nn.ModuleList(
            Block(d, config.heads, p, inner=config.inner_size or 4 * d, pre_norm=True) for _ in range(config.layers)
        )
        self.bias = nn.Embedding(size, 1)
        nn.init.zeros_(self.bias.weight)
        nn.init.normal_(self.position.weight, std=0.02)
        init_weights(self.blocks)

    @property
    def reads_history(self) -> bool:
        return True

    def order(self, batch: ListBatch, candidates: Tensor, listed: Tensor, history: Tensor | None) -> Tensor:
        assert history is not None
        user = torch.zeros(len(history), history.shape[2], device=history.device)
        if history.shape[1]:
            at = positions(history.shape[1], batch.lengths, self.config.history_length, device=history.device)
            x = self.dropout(self.input_norm(history + self.position(at)))
            for block in self.blocks:
                x = block(x, causal=True)
            rows = torch.arange(len(x), device=x.device)
            user = self.output_norm(x[rows, (batch.lengths - 1).clamp_min(0)]) * (batch.lengths > 0)[:, None]
        return (candidates @ user[..., None])[..., 0] + self.bias(batch.candidates)[..., 0]


class SASRecReranker(NetReranker):
    """Self-attention over the history, scoring candidates."""

    paper = "Kang & McAuley, ICDM 2018, 10.1109/ICDM.2018.00035, as in Zhang et al., COLING 2025"
    Config: ClassVar[type[Config]] = SASRecRerankerConfig
    Net = SASRecRerankerNet
    sequential = True
