"""HGN: gates choose which features of the latest items, and which of these items, matter to this user.

Ma, Kang & Liu, "Hierarchical Gating Networks for Sequential Recommendation", KDD 2019 (10.1145/3292500.3330984).

As in the authors' code: the user's vector and the sum of the window's item vectors are added to the gated mean, and one
table of output vectors, apart from the input's, scores their sum (the paper's matrix factorisation, group-level and
item-to-item terms share it); the instance gate has a column of its own for each place in the window.

Differs: full softmax over the catalogue instead of BPR with one negative (``loss`` has others); each event is a target
once, from the window before it, where the paper has its next three as targets of every window; a window that begins
before the first event is read without the places that it lacks; dropout on the vectors; a share of the training
sequences is read as a stranger's, so that users without a vector can be served.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.causal import PersonalConfig, PersonalNet, PersonalRecommender, sliding
from seqlore.models.layers import Dropout


class HGNConfig(PersonalConfig):
    """Settings of HGN."""

    embedding_size: int = Field(default=50, ge=1, description="Width d of all vectors.")
    window: int = Field(default=5, ge=1, description="Latest events that are read: L.")


class HGNNet(PersonalNet):
    """Items [B, T] and users [B] → states [B, T, d]; the state at t predicts event t + 1."""

    config: HGNConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        d, window = self.config.embedding_size, self.config.window
        self.dropout = Dropout(self.config.dropout)
        self.feature_item, self.feature_user = nn.Linear(d, d), nn.Linear(d, d, bias=False)
        self.instance_item, self.instance_user = nn.Linear(d, 1, bias=False), nn.Linear(d, window, bias=False)

    def hidden(self, items: Tensor, users: Tensor) -> Tensor:
        """[B, T, d]."""
        window = self.config.window
        x, who = self.dropout(self.items(items)), self.dropout(self.users(users))[:, None]  # [B, T, d], [B, 1, d]
        gated = x * torch.sigmoid(self.feature_item(x) + self.feature_user(who))
        score = sliding(self.instance_item(gated)[..., 0], window) + self.instance_user(who)  # [B, T, L]
        real = sliding(torch.ones_like(items, dtype=x.dtype), window)
        gate = torch.sigmoid(score) * real
        group = torch.einsum("btdl,btl->btd", sliding(gated, window), gate) / gate.sum(2, keepdim=True)
        return who + group + sliding(x, window).sum(3)


class HGN(PersonalRecommender):
    """Hierarchical gating network over the latest items."""

    paper = "Ma, Kang & Liu, KDD 2019, 10.1145/3292500.3330984"
    Config: ClassVar[type[Config]] = HGNConfig
    Net = HGNNet
