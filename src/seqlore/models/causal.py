"""Nets that read a sequence in one direction, so that one pass over it trains every position.

Several papers cut a sequence into all its prefixes and train on the last position of each. Where a state reads nothing
that comes after it, that is the same loss, at the price of computing every prefix anew; here each is computed once.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seqlore.data import Split
from seqlore.models.items import item_table
from seqlore.models.net import NetConfig, NetRecommender, SequenceNet


class CausalNet(SequenceNet):
    """A net whose state at t reads the events up to t."""

    @abstractmethod
    def hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """items [B, T], right-padded; lengths [B] → states [B, T, width]; those behind a length mean nothing."""

    def last_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        return self.hidden(items, lengths)[torch.arange(len(items), device=items.device), lengths - 1]

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """(items [B, T + 1], users [B]) → loss of predicting each event from those before it."""
        items = batch[0]
        targets = items[:, 1:]
        read = targets > 0
        return self.objective(self.hidden(items[:, :-1], read.sum(1))[read], targets[read])


class PersonalConfig(NetConfig):
    """Settings of nets that also read whose history it is."""

    stranger_share: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Share of training sequences read as a stranger's, so that strangers are served.",
    )


class PersonalNet(SequenceNet):
    """A causal net with a vector for each user; users' row 0 is the stranger. Items are compared by a second table."""

    config: Any  # a PersonalConfig, of its own kind in each net
    trained: Tensor

    def __init__(
        self,
        counts: np.ndarray,
        config: PersonalConfig,
        text: Tensor | None,
        users: int,
        trained: Tensor | None = None,
    ) -> None:
        """Args: as of ``SequenceNet``. users: rows of the table of users, the stranger's included. trained: bool
        [users], whose histories are learned from; the others are served as strangers. None = all.
        """
        super().__init__(counts, config, text)
        d, std = config.embedding_size, config.init_std
        self.register_buffer("trained", torch.ones(users, dtype=torch.bool) if trained is None else trained)
        self.register_load_state_dict_pre_hook(_all_trained)
        self.users = nn.Embedding(users, d)
        nn.init.normal_(self.users.weight, std=std)
        self.outputs = item_table(len(counts), d, config.item_init, text, init_std=std, row_sparse=self.row_sparse)
        if "text" in dict(self.outputs.named_buffers()):  # that of ``items``, and saved with it
            self.outputs.register_buffer("text", text, persistent=False)

    def table(self) -> Tensor:
        return self.outputs.table()  # type: ignore[operator]

    def vectors(self, items: Tensor) -> Tensor:
        return self.outputs(items)

    @abstractmethod
    def hidden(self, items: Tensor, users: Tensor) -> Tensor:
        """items [B, T], right-padded; users [B] → states [B, T, width]."""

    def last_hidden(self, items: Tensor, lengths: Tensor, users: Tensor | None = None) -> Tensor:
        # The row of a user who never trained is as random as it began.
        users = torch.zeros_like(lengths) if users is None else users * self.trained[users]
        return self.hidden(items, users)[torch.arange(len(items), device=items.device), lengths - 1]

    def known(self, users: Tensor) -> Tensor:
        """``users``, some of them made strangers for this batch."""
        return users.masked_fill(torch.rand(len(users), device=users.device) < self.config.stranger_share, 0)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """(items [B, T + 1], users [B]) → loss of predicting each event from those before it."""
        items, users = batch
        targets = items[:, 1:]
        read = targets > 0
        return self.objective(self.hidden(items[:, :-1], self.known(users))[read], targets[read])


def _all_trained(net: PersonalNet, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """States that were saved without ``trained`` load as the net was built: a saved model with all users trained."""
    state.setdefault(f"{prefix}trained", net.trained)


class PersonalRecommender(NetRecommender):
    """Recommender of a :class:`PersonalNet`. A stranger gets what row 0 of the users learned, and so does a user of
    whom training holds no history to learn from, such as all those of the test sessions of a temporal split."""

    uses_users: ClassVar[bool] = True

    def net_arguments(self, split: Split) -> dict[str, Any]:
        learn = self.training_sequences(split)
        trained = torch.zeros(split.users.size, dtype=torch.bool)
        trained[torch.from_numpy(learn.users[learn.lengths >= 2].astype(np.int64))] = True
        return {"users": split.users.size, "trained": trained}

    def saved_arguments(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"users": len(state["users.weight"])}


def sliding(x: Tensor, length: int) -> Tensor:
    """The latest ``length`` entries at each step: [B, T, …] → a view [B, T, …, length], oldest first, zeros before the
    first."""
    return F.pad(x, (0, 0) * (x.dim() - 2) + (length - 1, 0)).unfold(1, length, 1)
