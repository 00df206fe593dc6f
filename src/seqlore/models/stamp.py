"""STAMP: attention asked by the last item and by the session's mean; no recurrence, no order but which item is last.

Liu et al., "STAMP: Short-Term Attention/Memory Priority Model for Session-based Recommendation", KDD 2018
(10.1145/3219819.3219950).

As in the authors' code: attention weights are not normalised, the session's mean is added to what they gather, and the
trilinear product goes into the softmax without the paper's logistic function before it.
Differs: all positions of a sequence are trained in one pass, which is the loss over all its prefixes with each computed
once; dropout on the item vectors (two thirds of a catalogue like Beauty's are seen less than ten times); an output
bias; item vectors are not cut to norm 1.
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


class STAMPConfig(NetConfig):
    """Settings of STAMP."""

    embedding_size: int = Field(default=100, ge=1, description="Width d of item vectors and states.")


class STAMPNet(CausalNet):
    """Items [B, T] → states [B, T, d]; the state at t predicts event t + 1."""

    config: STAMPConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        d = self.config.embedding_size
        self.dropout = Dropout(self.config.dropout)
        self.item, self.last = nn.Linear(d, d), nn.Linear(d, d, bias=False)
        self.mean, self.score = nn.Linear(d, d, bias=False), nn.Linear(d, 1, bias=False)
        self.interest, self.latest = nn.Linear(d, d), nn.Linear(d, d)

    def hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, d]."""
        steps = items.shape[1]
        x = self.dropout(self.items(items))
        count = torch.arange(1, steps + 1, device=items.device, dtype=x.dtype)[:, None]
        mean = x.cumsum(1) / count  # of the session up to each step
        weight = self.weights(x, mean, x).tril()  # [B, T, T]: nothing later than the step is gathered
        return torch.tanh(self.interest(weight @ x + mean)) * torch.tanh(self.latest(x))

    def weights(self, last: Tensor, mean: Tensor, x: Tensor) -> Tensor:
        """How much of each item [B, T, d] is gathered for last items and means [B, Q, d]: [B, Q, T]."""
        asked = self.last(last) + self.mean(mean)
        pair = torch.sigmoid(asked[:, :, None] + self.item(x)[:, None])  # [B, Q, T, d]
        return self.score(pair)[..., 0]

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """As of ``CausalNet``, with the last step alone asking."""
        real = torch.arange(items.shape[1], device=items.device) < lengths[:, None]  # [B, T]
        x = self.dropout(self.items(items)) * real[..., None]
        last = x[torch.arange(len(items), device=items.device), lengths - 1][:, None]  # [B, 1, d]
        mean = x.sum(1, keepdim=True) / lengths[:, None, None]
        state = self.interest(self.weights(last, mean, x) @ x + mean)
        return (torch.tanh(state) * torch.tanh(self.latest(last)))[:, 0]


class STAMP(NetRecommender):
    """Short-term attention and memory priority."""

    paper = "Liu et al., KDD 2018, 10.1145/3219819.3219950"
    Config: ClassVar[type[Config]] = STAMPConfig
    Net = STAMPNet
