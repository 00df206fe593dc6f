"""GRU4Rec as a scorer of candidates: the state after the history, compared with each candidate's input vector.

Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016 (arXiv 1511.06939), as Zhang et
al. (COLING 2025) use it: the latest 150 events, whose items are augmented like the candidates (their section 3.3).

Differs from :class:`seqlore.models.gru4rec.GRU4Rec`: one target a list, the softmax runs over its candidates, and
candidates are compared by their augmented vectors; candidates do not see one another.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Dropout
from seqlore.rerank.augment import Augmentation
from seqlore.rerank.lists import ListBatch
from seqlore.rerank.ranker import NetReranker, RankerConfig, RankerNet


class GRU4RecRerankerConfig(RankerConfig):
    """Settings of GRU4RecReranker."""

    history_length: int = Field(default=150, ge=1, description="Latest events that are read.")
    hidden_size: int = Field(default=128, ge=1, description="Width of the recurrent state.")
    layers: int = Field(default=1, ge=1, description="Recurrent layers.")


class GRU4RecRerankerNet(RankerNet):
    """⟨state after the latest event, candidate⟩ + the candidate's bias."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        d = config.embedding_size
        between = config.dropout if config.layers > 1 else 0.0
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(d, config.hidden_size, config.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(config.hidden_size, d)
        self.bias = nn.Embedding(size, 1)
        nn.init.zeros_(self.bias.weight)
        for name, weight in self.gru.named_parameters():
            if "weight_ih" in name:
                nn.init.xavier_uniform_(weight)
            elif "weight_hh" in name:
                nn.init.orthogonal_(weight)

    @property
    def reads_history(self) -> bool:
        return True

    def order(self, batch: ListBatch, candidates: Tensor, listed: Tensor, history: Tensor | None) -> Tensor:
        assert history is not None
        last = torch.zeros(len(history), self.config.hidden_size, device=history.device)
        if history.shape[1]:
            states, _ = self.gru(self.dropout(history))  # pads stand on the right, after every real state
            rows = torch.arange(len(history), device=history.device)
            last = states[rows, (batch.lengths - 1).clamp_min(0)] * (batch.lengths > 0)[:, None]
        user = self.output(self.dropout(last))  # [B, d]
        return (candidates @ user[..., None])[..., 0] + self.bias(batch.candidates)[..., 0]


class GRU4RecReranker(NetReranker):
    """Gated recurrent units over the history, scoring candidates."""

    paper = "Hidasi et al., ICLR 2016, arXiv 1511.06939, as in Zhang et al., COLING 2025"
    Config: ClassVar[type[Config]] = GRU4RecRerankerConfig
    Net = GRU4RecRerankerNet
    sequential = True
