"""MostPopular: the items with most interactions, the same list for everybody but for what each has seen."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.errors import DataError
from seqlore.recommender import ScoringRecommender

DAY = 86_400.0


class MostPopularConfig(Config):
    """Settings of MostPopular."""

    half_life: float | None = Field(default=None, gt=0)
    """Days in which an interaction comes to count half (from the newest one); None: all count alike."""


class MostPopular(ScoringRecommender):
    """Items by their number of interactions in training. An empty history gets the same list."""

    paper: ClassVar[str] = "No paper: the usual baseline."
    Config: ClassVar[type[Config]] = MostPopularConfig

    def _fit(self, split: Split) -> None:
        train, weight = split.train, None
        if self.config.half_life is not None:
            if train.timestamps is None:
                raise DataError(
                    "MostPopular: half_life needs a timestamp on every interaction; leave it out, or fill the column in"
                )
            weight = np.exp2((train.timestamps - train.timestamps.max()) / (DAY * self.config.half_life))
        counts = np.bincount(train.items, weight, minlength=split.catalog.size)
        self._counts = torch.from_numpy(counts.astype(np.float32))

    def score(self, histories: Sequences) -> Tensor:
        """The counts, float32 [n, size]."""
        return self._counts.repeat(len(histories), 1)

    def state(self) -> dict[str, Tensor]:
        """The counts."""
        return {"counts": self._counts}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the counts back."""
        self._counts = state["counts"]
