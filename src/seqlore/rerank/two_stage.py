"""TwoStage: a retriever finds candidates, a reranker orders them, and together they are one recommender."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.evaluation.candidates import shuffled
from seqlore.fitting import fit_options, fit_with
from seqlore.models.parts import adopt
from seqlore.ranking import Lists
from seqlore.recommender import Model, Recommender, model_class
from seqlore.rerank.candidates import Retrieved, Uniform
from seqlore.rerank.reranker import Reranker, distinct, reranker_class, without_seen


class Stage(Config):
    """A model and its settings, as a recipe would write them."""

    model: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @field_validator("settings")
    @classmethod
    def _plain(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return json.loads(json.dumps(settings, default=str))  # saved and loaded settings are equal

    def make(self, cls: type[Model], seed: int) -> Any:
        """An unfitted model; where it has a seed and none is set, this one."""
        own = {"seed": seed} if "seed" in cls.Config.model_fields else {}
        return cls(cls.Config.parse({**own, **self.settings}, self.model))


class TwoStageConfig(Config):
    """Settings of TwoStage."""

    retriever: Stage = Field(default=Stage(model="SASRec"), description="A recommender, by its registered name.")
    reranker: Stage = Field(
        default=Stage(model="SASRecReranker"),
        description="A reranker, by its registered name. DLCM, PRM and SetRank do not see the history by themselves.",
    )
    depth: int = Field(default=100, ge=2, description="Candidates that are retrieved and reranked; no list is longer.")
    lists: Literal["retrieved", "uniform"] = Field(
        default="retrieved",
        description="What the reranker learns from: cross-fitted retrieval, or random unseen items.",
    )
    folds: int = Field(default=5, ge=2, description="Of users, for cross-fitted retrieval.")
    seed: int = Field(
        default=0, description="Of both stages, of the folds, and of the order in which candidates are read."
    )

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        for stage, cls in (
            (self.retriever, model_class(self.retriever.model)),
            (self.reranker, reranker_class(self.reranker.model)),
        ):
            cls.Config.parse(stage.settings, stage.model)
        return self


class TwoStage(Recommender):
    """Retrieval and reranking as one recommender, fitted together or (:meth:`of`) already fitted.

    The reranker reads candidates in an order that follows from their set and the seed. Given candidates that are no
    more than ``depth`` are all reranked, without asking the retriever.
    """

    paper: ClassVar[str] = "No paper: the usual design."
    Config: ClassVar[type[Config]] = TwoStageConfig
    uses_users: ClassVar[bool] = True

    @classmethod
    def of(cls, retriever: Recommender, reranker: Reranker, **settings: Any) -> Self:
        """Two fitted models, which are not copied. ``settings``: depth, seed.

        Raises: DataError: they do not share catalogue and users.
        """
        stages = {
            key: {"model": model.name, "settings": model.config.model_dump(mode="json")}
            for key, model in (("retriever", retriever), ("reranker", reranker))
        }
        model = cls(**stages, **settings)
        model._retriever, model._reranker = retriever, reranker
        adopt(model, (retriever, reranker))
        return model

    @property
    def retriever(self) -> Recommender:
        """The first stage."""
        return self._retriever

    @property
    def reranker(self) -> Reranker:
        """The second stage."""
        return self._reranker

    def _fit(
        self,
        split: Split,
        *,
        progress: Callable[[dict[str, Any]], None] | None = None,
        log: Path | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        """``log`` and ``checkpoint``: each stage has its own; cross-fitted retrievers are kept whole once they are."""
        c, retriever = self.config, model_class(self.config.retriever.model)

        def of(stage: str) -> dict[str, Any]:
            return {
                "progress": progress,
                "log": None if log is None else log.with_name(f"{log.stem}-{stage}{log.suffix}"),
                "checkpoint": None if checkpoint is None else checkpoint / stage,
            }

        if c.lists == "retrieved":
            keep = of("retriever")["checkpoint"]
            made = Retrieved(lambda: c.retriever.make(retriever, c.seed), c.depth, c.folds, c.seed, keep=keep)
            source = made.fitted(split)
            self._retriever = source.whole
        else:
            source = Uniform(c.depth - 1)
            self._retriever = fit_with(c.retriever.make(retriever, c.seed), split, **of("retriever"))
        reranker = c.reranker.make(reranker_class(c.reranker.model), c.seed)
        known = fit_options(type(reranker))
        options = {name: value for name, value in of("reranker").items() if name in known}
        self._reranker = reranker.fit(split, source, **options)
        self.about |= {"retriever": dict(self._retriever.about), "reranker": dict(self._reranker.about)}

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
    ) -> Lists:
        depth = self.config.depth
        if candidates is not None:
            once = distinct(np.atleast_2d(candidates))
            once = once[:, : int((once > 0).sum(1).max(initial=0))] if (once[:, -1:] == 0).all() else once
            candidates = once.reshape(*candidates.shape[:-1], once.shape[1])
        if candidates is not None and candidates.shape[-1] <= depth:
            rows = np.broadcast_to(candidates, (len(histories), candidates.shape[-1]))
            rows = without_seen(histories, rows) if exclude_seen else rows
        else:
            found = self._retriever.rank(
                histories, min(depth, len(self.catalog)), exclude_seen=exclude_seen, candidates=candidates
            )
            rows = found.items
        rows = shuffled(rows, self.config.seed)
        lists = self._reranker.rank(histories, k, exclude_seen=False, candidates=rows)
        self.diagnostics = dict(self._reranker.diagnostics)
        return lists

    def children(self) -> Mapping[str, Model]:
        return {"retriever": self._retriever, "reranker": self._reranker}

    def adopt(self, children: dict[str, Any]) -> None:
        self._retriever, self._reranker = children["retriever"], children["reranker"]

    def state(self) -> dict[str, Tensor]:
        """Nothing of its own."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing to take back."""
