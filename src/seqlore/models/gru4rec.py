"""GRU4Rec: a recurrent net over the history, and LLM2GRU4Rec, the same net started from text vectors.

Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR 2016 (arXiv 1511.06939), with the
loss of Hidasi & Karatzoglou, CIKM 2018 (10.1145/3269206.3271761): cross-entropy over many items.

Differs from the papers: whole sequences in one pass instead of session-parallel steps with carried state (the
gradients are those of full back-propagation through time); item vectors are tied between input and output, the GRU's
state being mapped to their width; the softmax runs over the whole catalogue where that fits.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.models.layers import Dropout
from seqlore.models.net import NetConfig, NetRecommender, SequenceNet
from seqlore.text.source import TextInit


class GRU4RecConfig(NetConfig):
    """Settings of GRU4Rec."""

    hidden_size: int = Field(default=128, ge=1, description="Width of the recurrent state.")
    layers: int = Field(default=1, ge=1, description="Recurrent layers.")


class GRU4RecNet(SequenceNet):
    """Items [B, T] → hidden states [B, T, d]; the state at t predicts event t + 1."""

    config: GRU4RecConfig

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        c = self.config
        between = c.dropout if c.layers > 1 else 0.0
        self.dropout = Dropout(c.dropout)
        self.gru = nn.GRU(c.embedding_size, c.hidden_size, c.layers, batch_first=True, dropout=between)
        self.output = nn.Linear(c.hidden_size, c.embedding_size)
        for name, weight in self.gru.named_parameters():
            if "weight_ih" in name:
                nn.init.xavier_uniform_(weight)
            elif "weight_hh" in name:
                nn.init.orthogonal_(weight)

    def hidden(self, items: Tensor) -> Tensor:
        """[B, T, d]. Pads stand on the right, after every real state."""
        states, _ = self.gru(self.dropout(self.items(items)))
        return self.output(self.dropout(states))

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        return self.hidden(items)[torch.arange(len(items), device=items.device), lengths - 1]

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """(items [B, T + 1], users [B]) → loss of predicting each event from those before it."""
        items = batch[0]
        targets = items[:, 1:]
        read = targets > 0
        return self.objective(self.hidden(items[:, :-1])[read], targets[read])


class GRU4Rec(NetRecommender):
    """Gated recurrent units over the session."""

    paper = "Hidasi et al., ICLR 2016, arXiv 1511.06939; loss of Hidasi & Karatzoglou, CIKM 2018"
    Config: ClassVar[type[Config]] = GRU4RecConfig
    Net = GRU4RecNet


class LLM2GRU4RecConfig(GRU4RecConfig):
    """GRU4Rec whose item vectors start from a language model's."""

    item_init: TextInit | None = Field(default_factory=TextInit, description="Start of the item vectors.")


class LLM2GRU4Rec(GRU4Rec):
    """GRU4Rec with ``TextInit`` and nothing else."""

    paper = "Harte et al., RecSys 2023, 10.1145/3604915.3610639 (online material)"
    Config: ClassVar[type[Config]] = LLM2GRU4RecConfig
