"""Blend: a weighted mixture of recommenders.

The future work of Harte et al. (RecSys 2023, 10.1145/3604915.3610639, section 5), who would join LLMSeqSim with
LLM2BERT4Rec. Scores of different models are not comparable, so those of each history are normalised first; four ways
are in use (M. Renda and U. Straccia, "Web metasearch: rank vs. score based rank aggregation methods", SAC 2003,
10.1145/952532.952698, compare them):

    zscore      (s − mean) / standard deviation over the catalogue
    minmax      (s − min) / (max − min)
    softmax     exp(s) / Σ exp(s), for scores that are logits; of sums of evidence it leaves one item
    reciprocal  1 / (60 + rank) within the first ``depth`` (G. Cormack et al., SIGIR 2009, 10.1145/1571941.1572114)

An item for which a model has no evidence (−∞) counts as zero, or as the lowest score of that history where this is
below zero (zscore, minmax), or for nothing (softmax, reciprocal); an item for which no model has any evidence is not
listed. A model that lists and does not score takes part with its first ``depth`` items.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from seqlore import ranking
from seqlore.config import Config
from seqlore.data import Cases, Sequences, Split
from seqlore.errors import ConfigError
from seqlore.evaluation import parse_metric
from seqlore.evaluation.report import ACCURACY, Accuracy
from seqlore.fitting import fit_with
from seqlore.models.parts import adopt
from seqlore.recommender import Recommender, ScoringRecommender, model_class

#: Weights that are tried, beside 1 for the first part.
GRID = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
#: Accuracy by which they are chosen.
MONITOR = "ndcg@10"
#: Of reciprocal rank fusion, as its authors chose it.
RRF = 60.0

Scores = NDArray[np.float32]


class Part(Config):
    """One model of a blend."""

    model: str
    """Its registered name."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the model, as a recipe would write them."""
    weight: float | None = Field(default=None, ge=0)
    """None: chosen on the validation cases."""

    @field_validator("settings")
    @classmethod
    def _plain(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return json.loads(json.dumps(settings, default=str))  # a saved and loaded blend has equal settings

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        model_class(self.model).Config.parse(self.settings, self.model)
        return self


class BlendConfig(Config):
    """Settings of Blend."""

    models: tuple[Part, ...] = (Part(model="VSKNN"), Part(model="LLMSeqSim"))
    """The models, two or more. Weights that are None are chosen by ``monitor`` on the validation cases; if all are,
    the first counts 1."""
    normalise: Literal["zscore", "minmax", "softmax", "reciprocal"] = "zscore"
    """How scores are made comparable; see the module."""
    depth: int = Field(default=200, ge=1)
    """Length of the lists taken from models that do not score the catalogue, and of those that "reciprocal" reads."""
    tune_cases: int = Field(default=5000, ge=1)
    """Validation cases at most on which weights are chosen."""
    monitor: Accuracy = Field(default=MONITOR, exclude_if=lambda monitor: monitor == MONITOR)
    """The accuracy by which weights are chosen."""

    @property
    def random(self) -> bool:
        """One of the models is."""
        return any(model_class(part.model).Config.parse(part.settings, part.model).random for part in self.models)

    @field_validator("models")
    @classmethod
    def _two_or_more(cls, models: tuple[Part, ...]) -> tuple[Part, ...]:
        if len(models) < 2:
            raise ValueError("a blend needs two models or more, each as {model, settings, weight}")
        return models


class Blend(ScoringRecommender):
    """A weighted mixture of recommenders, fitted together or (:meth:`of`) already fitted."""

    paper: ClassVar[str] = "Future work of Harte et al., RecSys 2023, 10.1145/3604915.3610639"
    Config: ClassVar[type[Config]] = BlendConfig

    @classmethod
    def of(cls, models: Sequence[Recommender], weights: Sequence[float] | None = None, **settings: Any) -> Self:
        """A blend of fitted models, which are not copied.

        Args: weights: one a model; None: all count 1, until :meth:`tune` is called.

        Raises: DataError: the models do not share catalogue and users. ConfigError: not one weight a
            model, or one model only.
        """
        if weights is not None and len(weights) != len(models):
            raise ConfigError(f"Blend: {len(weights)} weights for {len(models)} models; give one a model")
        parts = [
            {"model": m.name, "settings": m.config.model_dump(mode="json"), "weight": None if weights is None else w}
            for m, w in zip(models, weights or [1.0] * len(models), strict=True)
        ]
        blend = cls(models=parts, **settings)
        blend._models = list(models)
        adopt(blend, models)
        blend._weigh([1.0 if w is None else w for w in weights or [None] * len(models)])
        return blend

    def _fit(
        self,
        split: Split,
        *,
        progress: Callable[[dict[str, Any]], None] | None = None,
        log: Path | None = None,
        checkpoint: Path | None = None,
        exclude_seen: bool = True,
    ) -> None:
        """``log`` and ``checkpoint``: each part has its own, ``LOG-part-00.jsonl`` and a folder in ``checkpoint``."""
        self._models = []
        for i, part in enumerate(self.config.models):
            name = _child(i)
            options = {
                "progress": progress,
                "log": None if log is None else log.with_name(f"{log.stem}-{name}{log.suffix}"),
                "checkpoint": None if checkpoint is None else checkpoint / name,
                "exclude_seen": exclude_seen,
            }
            self._models.append(fit_with(model_class(part.model)(**part.settings), split, **options))
        self.users = split.users if any(model.users is not None for model in self._models) else None
        self._weigh([1.0 if part.weight is None else part.weight for part in self.config.models])
        if any(part.weight is None for part in self.config.models):
            if split.valid is None:
                raise ConfigError(
                    "Blend: this split has no validation cases to choose weights on; give every model one"
                )
            self.tune(split.valid, exclude_seen=exclude_seen)

    def _weigh(self, weights: Sequence[float]) -> None:
        self._weights = torch.tensor(weights, dtype=torch.float64)
        self.about["weights"] = list(weights)

    def tune(self, cases: Cases, *, exclude_seen: bool = True) -> Self:
        """Choose the weights that the settings leave open, one after another, by ``monitor`` on ``cases``.

        Of more than ``tune_cases``, so many are taken, evenly spread. ``exclude_seen``: of the lists that are judged.
        """
        cases = cases.take(
            np.unique(np.linspace(0, len(cases) - 1, min(len(cases), self.config.tune_cases), dtype=int))
        )
        free = [i for i, part in enumerate(self.config.models) if part.weight is None]
        if len(free) == len(self._models):
            free = free[1:]
        step = max(1, ranking.BLOCK // self.catalog.size)
        for i in free * (1 if len(free) == 1 else 2):  # where several are free, the choice of one moves the others'
            gains = np.zeros(len(GRID))
            for start in range(0, len(cases), step):
                gains += self._gains(cases.take(slice(start, start + step)), i, exclude_seen)
            weights = self._weights.tolist()
            weights[i] = GRID[int(gains.argmax())]
            self._weigh(weights)
        return self

    def _gains(self, cases: Cases, i: int, exclude_seen: bool = True) -> NDArray[np.float64]:
        """float64 [len(GRID)], Σ of ``monitor`` over ``cases`` for each weight that model i may take."""
        kind, cut = parse_metric(self.config.monitor)
        rest, listed = self._mixture(cases.histories, skip=i)
        scores = self._scores(i, cases.histories)
        barred = ranking.mask_(torch.zeros(scores.shape), cases.histories, exclude_seen=exclude_seen).numpy() < 0
        gains = np.zeros(len(GRID))
        for rows in _slices(scores):
            without = np.where(listed[rows] & ~barred[rows], rest[rows], -np.inf)
            base = np.where((listed[rows] | (scores[rows] > -np.inf)) & ~barred[rows], rest[rows], -np.inf)
            added = self._normalise(scores[rows])
            for g, weight in enumerate(GRID):
                place = _places(base + np.float32(weight) * added if weight else without, cases.targets[rows])
                gains[g] += ACCURACY[kind](place[place <= cut], cut).sum()
        return gains

    def score(self, histories: Sequences) -> Tensor:
        """The weighted sum of normalised scores, float32 [n, size]; −∞ where no model has any evidence."""
        mixed, listed = self._mixture(histories)
        np.copyto(mixed, -np.inf, where=~listed)
        return torch.from_numpy(mixed)

    def _mixture(self, histories: Sequences, skip: int | None = None) -> tuple[Scores, NDArray[np.bool_]]:
        """The weighted sum of all models but ``skip``, and where any of them has evidence, [n, size] each."""
        mixed = np.zeros((len(histories), self.catalog.size), np.float32)
        listed = np.zeros(mixed.shape, bool)
        for i, weight in enumerate(self._weights.tolist()):
            if weight and i != skip:
                scores = self._scores(i, histories)
                for rows in _slices(scores):
                    listed[rows] |= scores[rows] > -np.inf
                    part = self._normalise(scores[rows])
                    mixed[rows] += np.multiply(part, np.float32(weight), out=part)
        return mixed, listed

    @torch.no_grad()
    def _scores(self, i: int, histories: Sequences) -> Scores:
        """float32 [n, size] of model i; −∞ for what it does not list, and for padding."""
        model = self._models[i]
        if isinstance(model, ScoringRecommender):
            scores = model.score(histories).float().cpu().numpy()
        else:
            lists = model.rank(histories, min(self.config.depth, len(self.catalog)), exclude_seen=False)
            scores = np.full((len(histories), self.catalog.size), -np.inf, np.float32)
            np.put_along_axis(scores, lists.items.astype(np.int64), lists.scores, 1)
        scores[:, 0] = -np.inf
        return scores

    def _normalise(self, scores: Scores) -> Scores:
        """Comparable and finite scores, in place; column 0 says nothing."""
        if self.config.normalise == "reciprocal":
            index, values = ranking.top_k(torch.from_numpy(scores), min(self.config.depth, scores.shape[1]))
            worth = 1.0 / (RRF + np.arange(1, index.shape[1] + 1))
            scores[:] = 0.0
            np.put_along_axis(scores, index.numpy(), np.where(values.numpy() > -np.inf, worth, 0.0), 1)
            return scores
        absent = scores == -np.inf
        high = scores.max(1, keepdims=True)
        high[high == -np.inf] = 0.0
        if self.config.normalise == "softmax":
            np.exp(np.subtract(scores, high, out=scores), out=scores)
            return np.divide(scores, np.maximum(scores.sum(1, keepdims=True), 1e-30), out=scores)
        np.copyto(scores, high, where=absent)
        low = scores.min(1, keepdims=True)
        low = np.where(absent[:, 1:].any(1, keepdims=True), np.minimum(low, 0.0), low)
        np.copyto(scores, low, where=absent)
        if self.config.normalise == "minmax":
            centre, spread = low, high - low
            scores -= centre
        else:
            n = scores.shape[1] - 1  # padding stands at the lowest score, and is no item
            centre = (scores.sum(1, keepdims=True, dtype=np.float64) - low) / n
            scores -= centre.astype(np.float32)
            scores[:, 0] = 0.0
            spread = np.sqrt(np.einsum("ij,ij->i", scores, scores)[:, None] / n)
        # Scores that are all equal say nothing; their rounding is not magnified.
        spread = np.where(spread > 1e-6 * np.abs(centre), spread, np.inf)
        return np.divide(scores, spread, out=scores, casting="same_kind")

    def children(self) -> dict[str, Recommender]:
        """The models, in order."""
        return {_child(i): model for i, model in enumerate(self._models)}

    def adopt(self, children: dict[str, Recommender]) -> None:
        """Take loaded models over."""
        self._models = [children[name] for name in sorted(children)]

    def state(self) -> dict[str, Tensor]:
        """The weights."""
        return {"weights": self._weights}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._weights = state["weights"]


def _child(i: int) -> str:
    return f"part-{i:02d}"


def _slices(scores: Scores) -> Iterator[slice]:
    """Rows a few at a time: half a million numbers stay in the cache through the passes that normalising takes."""
    step = max(1, (1 << 19) // scores.shape[1])
    return (slice(start, start + step) for start in range(0, len(scores), step))


def _places(scores: Scores, targets: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 [n], the place of each target in its list, from 1; far behind the last place if it is not listed."""
    own = scores[np.arange(len(scores)), targets][:, None]
    above = np.count_nonzero(scores > own, axis=1)
    for row in np.flatnonzero(np.count_nonzero(scores >= own, axis=1) > above + 1):  # equal scores go by index
        above[row] += np.count_nonzero(scores[row, : targets[row]] == own[row])
    return np.where(own[:, 0] > -np.inf, above + 1, scores.shape[1] + 10)
