"""Item-based nearest neighbours over co-occurrence within a training sequence.

M. Deshpande and G. Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 22 (2004), 10.1145/963770.963776;
B. Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001, 10.1145/371920.372071. With
users(i) the sequences that hold item i and both(i, j) those that hold i and j:

    score(i | history) = Σ_j weight(j) · similarity(i, j)   over items j of the history, i among the k nearest of j
    cosine      both / (√(users(i) · users(j)) + shrinkage)
    jaccard     both / (users(i) + users(j) − both + shrinkage)
    dice        2 both / (users(i) + users(j) + shrinkage)
    conditional both / (users(j) · users(i)^alpha + shrinkage)     the share of j's users, tempered by popularity

Here weight(j) fades with the age of j in the history, which the papers' sets do not know. A list holds items with
evidence only, so it may be short; a history without any gets the popular items.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.models._sparse import (
    Decay,
    blocks,
    decay_weights,
    distinct,
    from_state,
    largest,
    product,
    rows_matrix,
    select,
    stack,
    steps,
    to_scores,
    to_state,
)
from seqlore.recommender import ScoringRecommender

#: Pairs of items that are held at once while similarities are computed: 4 M take some 100 MB.
PAIRS = 1 << 22


class ItemKNNConfig(Config):
    """Settings of ItemKNN."""

    k: int = Field(default=200, ge=1)
    """Nearest items that are kept for each item."""
    similarity: Literal["cosine", "jaccard", "dice", "conditional"] = "cosine"
    """See the module for the formulas."""
    shrinkage: float = Field(default=30.0, ge=0)
    """Added to the denominator: similarities that rest on few users count less."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """Of the conditional similarity: 0 = plain conditional probability, 1 = lift."""
    decay: Decay = "harmonic"
    """How items of the history fade with their age."""
    last_n_items: int | None = Field(default=5, ge=1)
    """Look at the latest items of the history only; None: all."""


class ItemKNN(ScoringRecommender):
    """Items that often occur beside those of the history."""

    paper: ClassVar[str] = "Deshpande & Karypis, ACM TOIS 2004, 10.1145/963770.963776"
    Config: ClassVar[type[Config]] = ItemKNNConfig

    def _fit(self, split: Split) -> None:
        train, size = split.train, split.catalog.size
        sequences = rows_matrix(train, np.ones(len(train.items)), size)
        sequences.data[:] = 1.0
        users = csr_array(sequences.T)  # [size, n]
        reach = users @ np.diff(sequences.indptr)  # pairs that the co-occurrences of an item add up from
        parts = [self._nearest(users, sequences, rows) for rows in blocks(reach, PAIRS)]
        self._similar = stack(parts, size)  # [size, size], row j lists the nearest of j
        counts = split.counts()
        self._popularity = counts / (counts.sum() + 1.0)

    def _nearest(self, users: csr_array, sequences: csr_array, rows: slice) -> csr_array:
        """Similarities of the items ``rows`` (as j) to their k nearest (as i), [rows, size]."""
        config, count = self.config, np.diff(users.indptr).astype(np.float64)
        both = product(csr_array(users[rows]), sequences)
        j = np.repeat(np.arange(len(count))[rows], np.diff(both.indptr))
        other = both.indices != j
        both, j = select(both, other), j[other]
        ours, theirs = count[j], count[both.indices]
        match config.similarity:
            case "cosine":
                both.data /= np.sqrt(ours * theirs) + config.shrinkage
            case "jaccard":
                both.data /= ours + theirs - both.data + config.shrinkage
            case "dice":
                both.data *= 2.0 / (ours + theirs + config.shrinkage)
            case "conditional":
                both.data /= ours * theirs**config.alpha + config.shrinkage
        return select(both, largest(both, config.k))

    def score(self, histories: Sequences) -> Tensor:
        """Evidence for each item, float32 [n, size]; −∞ where there is none, below zero where popularity stands in."""
        asked = distinct(histories, np.diff(self._similar.indptr) > 0, self.config.last_n_items)
        weights = decay_weights(self.config.decay, steps(asked), np.repeat(asked.lengths, asked.lengths))
        return to_scores(
            product(rows_matrix(asked, weights, self.catalog.size), self._similar), histories, self._popularity
        )

    def state(self) -> dict[str, Tensor]:
        """Similarities and popularity."""
        return {"popularity": torch.from_numpy(self._popularity), **to_state(self._similar, "similar")}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._popularity = state["popularity"].numpy()
        self._similar = from_state(state, "similar", self.catalog.size)
