"""NARM: a recurrent encoder whose states are read twice, as they end and as attention gathers them.

Li et al., "Neural Attentive Session-based Recommendation", CIKM 2017 (10.1145/3132847.3132926).

As in the authors' code: attention weights go through a softmax over the session (the paper's formula has none), dropout
of a quarter on the item vectors and of a half on the joined states, one table for input and (bilinear) output.
Differs: all positions of a sequence are trained in one pass, which is the loss over all its prefixes with each computed
once; an output bias.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.causal import CausalNet
from seqlore.models.layers import Dropout
from seqlore.models.net import NetConfig, NetRecommender


class NARMConfig(NetConfig):
    """Settings of NARM."""

    embedding_size: int = Field(default=50, ge=1, description="Width d of item vectors.")
    hidden_size: int = Field(default=100, ge=1, description="Width of the recurrent states.")
    layers: int = Field(default=1, ge=1, description="Recurrent layers.")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout on the joined states.")
    input_dropout: float = Field(default=0.25, ge=0, lt=1, description="Dropout on the item vectors.")


class NARMNet(CausalNet):
    """Items [B, T] → states [B, T, d]; the state at t predicts event t + 1."""

    config: NARMConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        h = c.hidden_size
        self.input_dropout, self.dropout = Dropout(c.input_dropout), Dropout(c.dropout)
        self.gru = nn.GRU(c.embedding_size, h, c.layers, batch_first=True)
        self.latest, self.earlier = nn.Linear(h, h, bias=False), nn.Linear(h, h, bias=False)
        self.score = nn.Linear(h, 1, bias=False)
        self.bilinear = nn.Linear(2 * h, c.embedding_size, bias=False)

    def answers(self, asking: Tensor, states: Tensor, read: Tensor) -> Tensor:
        """What attention gathers from states [B, T, h] for the states [B, Q, h] that ask; read: bool [B or 1, Q, T]."""
        pair = torch.sigmoid(self.latest(asking)[:, :, None] + self.earlier(states)[:, None])  # [B, Q, T, h]
        return self.score(pair)[..., 0].masked_fill(~read, -torch.inf).softmax(2) @ states

    def gathered(self, states: Tensor) -> Tensor:
        """What attention gathers at each step from the states up to it: [B, T, h] → [B, T, h]."""
        steps = states.shape[1]
        # Of every state with every other: T·h numbers a position, a small part of what its loss computes.
        past = torch.ones(1, steps, steps, dtype=torch.bool, device=states.device).tril()
        return self.answers(states, states, past)

    def hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, d]."""
        states, _ = self.gru(self.input_dropout(self.items(items)))
        return self.bilinear(self.dropout(torch.cat([self.gathered(states), states], 2)))

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """As of ``CausalNet``, with the last state alone asking."""
        states, _ = self.gru(self.input_dropout(self.items(items)))
        last = states[torch.arange(len(items), device=items.device), lengths - 1]
        read = torch.arange(items.shape[1], device=items.device) < lengths[:, None]
        gathered = self.answers(last[:, None], states, read[:, None])[:, 0]
        return self.bilinear(self.dropout(torch.cat([gathered, last], 1)))


class NARM(NetRecommender):
    """Recurrent encoder with attention over its states."""

    paper = "Li et al., CIKM 2017, 10.1145/3132847.3132926"
    Config: ClassVar[type[Config]] = NARMConfig
    Net = NARMNet
