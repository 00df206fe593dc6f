"""Vectors of texts about users, each with the point up to which it knows them.

A text that summarises a user's whole sequence has read the targets that a model is trained to find. So every text says
how many events it was written from, and a sample is given the latest text that knows no more than what came before
its target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqlore.data import Sequences
from seqlore.errors import DataError

#: More events than any user has; keys are user · LIMIT + known.
LIMIT = 1 << 32


class UserTexts(nn.Module):
    """Vectors of n texts about users, as buffers that are saved with the model.

    Shapes: keys int64 [n], ascending; vectors float32 [n + 1, S, d], row 0 is zero and stands for "no text"; counts
    int64 [n + 1], how many of the S vectors a text has (one a text, or one a sentence).
    """

    keys: Tensor
    vectors: Tensor
    counts: Tensor

    def __init__(
        self,
        histories: Sequences,
        vectors: NDArray[np.floating] | Tensor,
        counts: NDArray[np.integer] | None = None,
        hidden: float = 0.0,
    ) -> None:
        """Args:
            histories: the very events that each text was written from, from the user's first one on, with users.
            vectors: [n, d], or [n, S, d] where a text has up to S vectors. counts: [n], how many it has; None: S.
            hidden: share of lookups in training that find nothing, drawn each time. Every training sample has a text,
                so a model would never learn what to make of a user without one.

        Raises: DataError: shapes that do not fit, texts of a stranger, or two texts of one user that know equally much.
        """
        super().__init__()
        values = torch.as_tensor(np.asarray(vectors), dtype=torch.float32)
        values = values[:, None] if values.ndim == 2 else values
        n = len(histories)
        if values.ndim != 3 or len(values) != n or (counts is not None and len(counts) != n):
            raise DataError(
                f"vectors of shape {tuple(values.shape)} for {n} texts: give [n, d], or [n, S, d] and counts"
            )
        if n and not histories.users.min():
            raise DataError("a text about a user whom nobody knows (index 0): give histories with their users")
        keys = histories.users.astype(np.int64) * LIMIT + histories.lengths
        order = np.argsort(keys, kind="stable")
        if (np.diff(keys[order]) == 0).any():
            raise DataError("two texts of one user were written from equally many events: keep one of them")
        held = np.full(n, values.shape[1]) if counts is None else np.asarray(counts)
        self._hold(
            torch.from_numpy(keys[order]),
            torch.cat([torch.zeros_like(values[:1]) if n else torch.zeros(1, *values.shape[1:]), values[order]]),
            torch.from_numpy(np.r_[0, held[order]].astype(np.int64)),
            hidden,
        )

    def _hold(self, keys: Tensor, vectors: Tensor, counts: Tensor, hidden: float = 0.0) -> None:
        self.hidden = hidden
        self.register_buffer("keys", keys)
        self.register_buffer("vectors", vectors)
        self.register_buffer("counts", counts)

    @classmethod
    def rebuilt(cls, state: Mapping[str, Tensor], prefix: str = "") -> Self:
        """From the buffers in a state dict, whose names begin with ``prefix``."""
        self = cls.__new__(cls)
        nn.Module.__init__(self)
        keys, vectors, counts = (state[prefix + name] for name in ("keys", "vectors", "counts"))
        self._hold(keys, vectors, counts)
        return self

    @property
    def width(self) -> int:
        """d."""
        return self.vectors.shape[2]

    def find(self, users: Tensor, known: Tensor) -> Tensor:
        """int64 [B], the row of the latest text about each user that knows no more than ``known`` events; 0 = none."""
        at = torch.searchsorted(self.keys, users * LIMIT + known, right=True)
        if not len(self.keys):
            return at
        key = self.keys[(at - 1).clamp_min(0)]
        row = torch.where((at > 0) & (key // LIMIT == users) & (users > 0), at, 0)
        if ((row > 0) & (key % LIMIT > known)).any():  # no assert: the promise holds under python -O, too
            raise DataError("a text about a user knows what came after its sample's history: its keys are not in order")
        return row

    def untold(self, users: Tensor, known: Tensor) -> Tensor:
        """bool [B]: no text about the user was written from exactly these ``known`` events."""
        keys = users * LIMIT + known
        return ~torch.isin(keys, self.keys.to(keys.device))

    def forward(self, users: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """(vectors [B, S, d], which of them there are bool [B, S])."""
        row = self.find(users, known)
        if self.training and self.hidden:
            row = torch.where(torch.rand(row.shape, device=row.device) < self.hidden, 0, row)
        there = torch.arange(self.vectors.shape[1], device=row.device) < self.counts[row][:, None]
        return self.vectors[row], there

    def permuted(self, seed: int = 0) -> Self:
        """The control: the texts of another user behind each, in one cycle over the users who have any.

        A user with fewer texts than the one whose place it takes gives its last ones again; what a text knows of its
        new user is nothing, so the points at which texts change stay those of the user.
        """
        users, first, count = np.unique(self.keys.numpy() // LIMIT, return_index=True, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(users))
        other = np.empty(len(users), np.int64)
        other[order] = np.roll(order, 1)
        of = np.repeat(np.arange(len(users)), count)
        place = np.arange(len(of)) - first[of]
        rows = np.r_[0, 1 + first[other[of]] + np.minimum(place, count[other[of]] - 1)]
        copy = type(self).__new__(type(self))
        nn.Module.__init__(copy)
        copy._hold(self.keys, self.vectors[rows], self.counts[rows], self.hidden)
        return copy
