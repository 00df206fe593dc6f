"""First-order Markov chain over items: what came next after the last item.

The model behind S. Rendle, C. Freudenthaler and L. Schmidt-Thieme, "Factorizing personalized Markov chains for
next-basket recommendation", WWW 2010, 10.1145/1772690.1772773, without personalisation and factorisation: transition
counts, smoothed towards popularity with a Dirichlet prior (C. Zhai and J. Lafferty, ACM TOIS 22, 2004,
10.1145/984321.984322):

    P(i | last) = (count(last → i) + prior · p(i)) / (count(last → ·) + prior)
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.models._sparse import from_state, to_state
from seqlore.recommender import ScoringRecommender


class MarkovConfig(Config):
    """Settings of Markov."""

    prior: float = Field(default=1.0, gt=0)
    """Pseudo-transitions from each item, spread by popularity: at 1 they hardly do more than order what is tied."""
    window: int = Field(default=1, ge=1)
    """Later items that count as a transition; the d-th one counts 1/d."""


class Markov(ScoringRecommender):
    """Transition probabilities from the history's last item; an unknown item or an empty history gets popularity."""

    paper: ClassVar[str] = "Rendle, Freudenthaler & Schmidt-Thieme, WWW 2010, 10.1145/1772690.1772773 (first-order)"
    Config: ClassVar[type[Config]] = MarkovConfig

    def _fit(self, split: Split) -> None:
        train, size = split.train, split.catalog.size
        row, counts = train.row_ids, csr_array((size, size))
        for d in range(1, self.config.window + 1):
            first = np.flatnonzero(row[d:] == row[:-d])
            pairs = (train.items[first], train.items[first + d])
            counts = counts + csr_array((np.full(len(first), 1.0 / d), pairs), shape=(size, size))
        self._counts = counts.tocsr()
        self._popularity = torch.from_numpy(split.counts() / len(train.items)).float()

    def score(self, histories: Sequences) -> Tensor:
        """P(next item | last item), float32 [n, size]; ids that the catalogue lacks are skipped."""
        last = histories.where(histories.items > 0).last(1)
        item = np.zeros(len(histories), np.int64)
        item[last.row_ids] = last.items
        seen = self._counts[item].tocoo()
        scores = (self.config.prior * self._popularity).repeat(len(histories), 1)
        scores[torch.from_numpy(seen.row).long(), torch.from_numpy(seen.col).long()] += torch.from_numpy(
            seen.data
        ).float()
        total = torch.from_numpy(np.asarray(self._counts.sum(axis=1)))[item].float()
        return scores.div_((total + self.config.prior)[:, None])

    def state(self) -> dict[str, Tensor]:
        """Transition counts and popularity."""
        return {"popularity": self._popularity, **to_state(self._counts, "counts")}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._popularity = state["popularity"]
        self._counts = from_state(state, "counts", self.catalog.size)
