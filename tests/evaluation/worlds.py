"""Models whose lists are known, for the tests of the protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data import Sequences, Split
from seqlore.ranking import Lists
from seqlore.recommender import Recommender, ScoringRecommender


class Fixed(ScoringRecommender):
    """The same score for everybody: those given by item id, 0 for every other item."""

    def __init__(self, scores: dict[str, float]) -> None:
        super().__init__()
        self.given = scores

    def _fit(self, split: Split) -> None:
        self.row = torch.zeros(split.catalog.size)
        for item, score in self.given.items():
            self.row[split.catalog.index([item])[0]] = score

    def score(self, histories: Sequences) -> Tensor:
        return self.row.repeat(len(histories), 1)

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...


class Lister(Recommender):
    """The same list for everybody, as given, with no scores of the other items."""

    def __init__(self, items: Sequence[str], scores: Sequence[float]) -> None:
        super().__init__()
        self.items, self.scores = items, np.asarray(scores, np.float32)

    def _fit(self, split: Split) -> None: ...

    def rank(
        self, histories: Sequences, k: int, *, exclude_seen: bool = True, candidates: NDArray[np.integer] | None = None
    ) -> Lists:
        n, row = len(histories), self.catalog.index(self.items)[:k]
        return Lists(np.tile(row, (n, 1)), np.tile(self.scores[:k], (n, 1)))

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...


class Popular(Fixed):
    """Training counts as scores."""

    def __init__(self) -> None:
        super().__init__({})

    def _fit(self, split: Split) -> None:
        self.row = torch.as_tensor(split.counts(), dtype=torch.float32)


class LastPlus(ScoringRecommender):
    """Scores from a random table, by the last item of the history: different for each, the same in each run."""

    def _fit(self, split: Split) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.randint(0, 6, (split.catalog.size, split.catalog.size), generator=generator).float()

    def score(self, histories: Sequences) -> Tensor:
        return self.table[histories.items[histories.offsets[1:] - 1].astype(int)]

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None: ...
