"""How a search goes. Defaults are those of Harte et al., RecSys 2023, 10.1145/3604915.3610639, online material."""

from __future__ import annotations

from pydantic import Field

from seqlore.config import Config
from seqlore.evaluation.report import Accuracy


class Search(Config):
    """How a search goes, and when it ends. What decides which trials there are is marked; a study keeps it."""

    metric: Accuracy = Field(default="ndcg@20", description="Maximised: its mean over the validation folds. Kept.")
    seed: int = Field(
        default=0, ge=0, description="Of the choice of settings; the models have a seed of their own. Kept."
    )
    starts: int = Field(
        default=20, ge=1, description="Finished trials before which settings are drawn at random. Kept."
    )
    prune: float = Field(
        default=0.2, ge=0, lt=1, description="Share of trials that are ended after a fold, the lowest; 0 = none. Kept."
    )
    trials: int = Field(default=1000, ge=1, description="Trials in all, those of earlier calls included.")
    patience: int = Field(default=100, ge=1, description="Trials without a better one after which the search ends.")
    hours: float | None = Field(default=None, gt=0, description="No trial begins later than so long after the call.")
    workers: int = Field(default=1, ge=1, description="Processes that work on the study.")
