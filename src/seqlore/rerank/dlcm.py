"""DLCM: a recurrent net reads the list from its end, and its last state says in which company each item stands.

Ai, Bi, Guo & Croft, "Learning a Deep Listwise Context Model for Ranking Refinement", SIGIR 2018
(10.1145/3209978.3209985). Its loss, attention rank, is the softmax over the list where one candidate is relevant.

As Zhang et al. (COLING 2025) run it, the base does not see the history: ``reads_history`` lets it. Differs from the
paper: the input of a candidate is a learned item vector (theirs: features of a query and a document); dropout.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Dropout
from seqlore.rerank.augment import Augmentation
from seqlore.rerank.listwise import ListwiseConfig, ListwiseNet
from seqlore.rerank.ranker import NetReranker


class DLCMConfig(ListwiseConfig):
    """Settings of DLCM."""

    attends: ClassVar[bool] = False

    hidden_size: int = Field(default=64, ge=1, description="Width α of the recurrent state.")
    comparisons: int = Field(default=8, ge=1, description="Hidden units k of the local ranking function.")


class DLCMNet(ListwiseNet):
    """φ(oᵢ, s) = V · (oᵢ · tanh(W s + b)): outputs oᵢ of a GRU that reads from the last candidate to the first."""

    def __init__(self, size: int, config: Any, augmentation: Augmentation) -> None:
        super().__init__(size, config, augmentation)
        d, alpha, k = config.embedding_size, config.hidden_size, config.comparisons
        self.abstract = nn.Sequential(nn.Linear(d, d), nn.ELU(), nn.Linear(d, d), nn.ELU())
        self.dropout = Dropout(config.dropout)
        self.gru = nn.GRU(2 * d, alpha, batch_first=True)
        self.context = nn.Linear(alpha, alpha * k)
        self.value = nn.Linear(k, 1, bias=False)

    def arrange(self, candidates: Tensor, listed: Tensor) -> Tensor:
        x = self.dropout(torch.cat([candidates, self.abstract(candidates)], -1))  # [B, C, 2d]
        last = listed.sum(1) - 1
        backwards = (last[:, None] - torch.arange(x.shape[1], device=x.device)).clamp_min(0)  # pads stay on the right
        read, _ = self.gru(_taken(x, backwards))
        states = _taken(read, backwards)  # [B, C, α], of each candidate
        whole = read[torch.arange(len(x), device=x.device), last]  # [B, α], when the first was read
        compared = torch.tanh(self.context(whole)).view(len(x), states.shape[2], -1)  # [B, α, k]
        return self.value(states @ compared)[..., 0]


def _taken(x: Tensor, places: Tensor) -> Tensor:
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))


class DLCM(NetReranker):
    """Deep listwise context model."""

    paper = "Ai et al., SIGIR 2018, 10.1145/3209978.3209985"
    Config: ClassVar[type[Config]] = DLCMConfig
    Net = DLCMNet
