"""Z: what is known about a user and about the items of the history, as vectors that a retriever or an adaptor reads.

Zhang et al., COLING 2025, equation 5 and Algorithm 1, line 10: the vectors of the user's preference text, and those of
the knowledge texts of the history's items. Candidates are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from seqlore.data import Sequences
from seqlore.rerank.lists import ListBatch
from seqlore.rerank.texts import UserTexts


class Z(NamedTuple):
    """What a retriever reads of each sample: texts about the user, then the history's items, oldest first.

    Shapes: vectors float32 [B, S + T, d]; there bool [B, S + T], which of them there are; ages int64 [B, S + T], 1 for
    the latest event, 2 for the one before, 0 for texts about the user and where nothing is.
    """

    vectors: Tensor
    there: Tensor
    ages: Tensor


class Knowledge(nn.Module):
    """Preference texts of users, knowledge texts of items.

    Shapes: items float32 [size, d]; a zero row = no text. Both lie in buffers that are saved with the model.
    """

    items: Tensor

    def __init__(self, preferences: UserTexts, items: Tensor, others: UserTexts | None = None) -> None:
        """Args: items: [size, d]. others: for :meth:`permuted`, the history in place of the user's own."""
        super().__init__()
        self.preferences, self.others = preferences, others
        self.register_buffer("items", items)

    @property
    def width(self) -> int:
        """d."""
        return self.items.shape[1]

    def about_items(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """(vectors [..., d], whether there is one bool [...]) of item indices [...]."""
        vectors = self.items[items]
        return vectors, vectors.any(-1)

    def forward(self, batch: ListBatch, history: int) -> Z:
        """Z of each sample; T ≤ ``history``.

        The preference text knows no more than what came before the sample's target (asserted by ``UserTexts``), and the
        items are those of the sample's history.
        """
        preference, told = self.preferences(batch.users, batch.known)
        read = latest(batch, history)
        if self.others is not None:
            read = self.others(batch.users, batch.known)[0][:, 0].long()
        vectors, there = self.about_items(read)
        about_user = told.new_zeros(told.shape, dtype=torch.int64)
        return Z(
            torch.cat([preference, vectors], 1), torch.cat([told, there], 1), torch.cat([about_user, ages(read)], 1)
        )

    def permuted(self, histories: Sequences, length: int | None, seed: int = 0) -> Self:
        """The control: every user has the Z of another, preference and history alike.

        Args: histories: the very ones that the preference texts were written from. length: events of them in Z; None:
            the preference alone is another's, and the history stays.
        """
        if length is None:
            return type(self)(self.preferences.permuted(seed), self.items)
        # Indices as floats (exact below 2²⁴) go the way of the texts: same keys and seed, same permutation.
        events = UserTexts(histories, histories.padded(length)[:, None].astype("float32"))
        return type(self)(self.preferences.permuted(seed), self.items, events.permuted(seed))

    @classmethod
    def rebuilt(cls, state: Mapping[str, Tensor], prefix: str) -> Self:
        """From the buffers in a state dict, whose names begin with ``prefix``."""
        others = f"{prefix}others."
        return cls(
            UserTexts.rebuilt(state, f"{prefix}preferences."),
            state[f"{prefix}items"],
            UserTexts.rebuilt(state, others) if f"{others}keys" in state else None,
        )


def latest(batch: ListBatch, length: int) -> Tensor:
    """The latest ``length`` events of each history, int64 [B, T], oldest first, 0 pads on the right."""
    items = batch.items
    if items.shape[1] <= length:
        return items
    first = (batch.lengths - length).clamp_min(0)[:, None]
    return items.gather(1, first + torch.arange(length, device=items.device))


def ages(read: Tensor) -> Tensor:
    """How many events ago each of [B, T] was, where 0 pads: int64, 1 for the latest, 0 where nothing is."""
    real = read > 0
    return real.flip(1).cumsum(1).flip(1) * real
