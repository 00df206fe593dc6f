"""What the listwise backbones share: as published they do not see the history, and a setting lets them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqlore.models.layers import positions
from seqlore.rerank.augment import Augmentation
from seqlore.rerank.layers import CrossAttention, divided
from seqlore.rerank.lists import ListBatch
from seqlore.rerank.ranker import RankerConfig, RankerNet


class ListwiseConfig(RankerConfig):
    """Settings of every listwise backbone."""

    #: The backbone itself attends, with as many heads.
    attends: ClassVar[bool] = True

    heads: int = Field(default=2, ge=1, description="Attention heads; must divide the width.")
    reads_history: bool = Field(default=False, description="Candidates also attend to the history (not as published).")

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        return divided(self) if self.attends or self.reads_history else self


class HistoryReader(nn.Module):
    """What each candidate finds in the history: attention of the candidate over its events, added to its vector.

    Events have a position, counted from the latest. A learned event that says nothing stands before them, so that an
    empty history can be read too. Like the activation unit of DIN (Zhou et al., KDD 2018, 10.1145/3219819.3219823), but
    with softmax attention.
    """

    def __init__(self, width: int, heads: int, dropout: float, length: int) -> None:
        """Args: length: most events that are read."""
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(width))
        self.position = nn.Embedding(length, width)
        nn.init.normal_(self.position.weight, std=0.02)
        self.attention = CrossAttention(width, heads, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, candidates: Tensor, history: Tensor, lengths: Tensor) -> Tensor:
        """candidates [B, C, d], history [B, T, d], lengths [B] → [B, C, d]."""
        t, device = history.shape[1], history.device
        back = self.position(positions(t, lengths, self.position.num_embeddings, device=device))
        first = self.nothing.expand(len(history), 1, -1)
        there = torch.arange(t + 1, device=device) <= lengths[:, None]
        return self.norm(candidates + self.attention(candidates, torch.cat([first, history + back], 1), there))


class ListwiseNet(RankerNet):
    """Base of the listwise backbones. Subclasses give ``arrange``."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        c = config
        self.reader: HistoryReader | None = None
        if c.reads_history:
            self.reader = HistoryReader(c.embedding_size, c.heads, c.dropout, c.history_length)

    @property
    def reads_history(self) -> bool:
        return self.reader is not None

    def order(self, batch: ListBatch, candidates: Tensor, listed: Tensor, history: Tensor | None) -> Tensor:
        if self.reader is not None:
            assert history is not None
            candidates = self.reader(candidates, history, batch.lengths)
        return self.arrange(candidates, listed)

    @abstractmethod
    def arrange(self, candidates: Tensor, listed: Tensor) -> Tensor:
        """Scores [B, C] of a list of vectors [B, C, d]; listed: bool [B, C], some in each row."""
