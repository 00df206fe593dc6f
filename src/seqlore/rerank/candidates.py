"""Where the lists to be reranked come from, for training and for evaluation alike.

* :class:`Uniform`: the target and n items that the user never has. The base figures of Zhang et al. (COLING 2025)
  imply these: on MovieLens-1M popularity comes out where their DLCM does.
* :class:`Retrieved`: the first k of any recommender, as a shop would have them. For training they are cross-fitted: the
  lists of a user come from a retriever that was fitted without this user, since one that memorised its training targets
  puts them first, and a reranker would learn to trust a place that means nothing later.

Every list is shuffled by seed (:func:`seqlore.evaluation.candidates.shuffled`), because DLCM and PRM read the order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from seqlore.config import digest
from seqlore.data import Cases, Sequences, Split
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation.candidates import (
    SampledCases,
    Unseen,
    items_of_users,
    shuffled,
    target_and_unseen,
    uniform_rule,
    with_candidates,
)
from seqlore.recommender import Recommender, load
from seqlore.version import __version__

Seed = int | Sequence[int]


class CandidateSource(ABC):
    """Cases → cases with candidates. Fitted on a split, it serves its training, validation and test cases."""

    #: How the lists are made, in words, for tables.
    rule: str
    #: Most candidates of a list; None = not known.
    length: int | None = None

    def __init__(self) -> None:
        self._split: Split | None = None

    def fitted(self, split: Split) -> Self:
        """The source itself, fitted on ``split`` unless it is already."""
        if self._split is not split:
            self._fit(split)
            self._split = split
        return self

    @property
    def split(self) -> Split:
        """What the source was fitted on."""
        if self._split is None:
            raise ConfigError(f"{type(self).__name__} has not been fitted: call fitted(split)")
        return self._split

    @abstractmethod
    def _fit(self, split: Split) -> None: ...

    @abstractmethod
    def training(self, cases: Cases, seed: Seed) -> NDArray[np.int32]:
        """[n, c], shuffled, 0 pads; of cases made of ``split.train``. A target may be missing from its list."""

    @abstractmethod
    def held_out(self, cases: Cases, seed: Seed) -> NDArray[np.int32]:
        """The same for cases that no retriever was fitted on."""

    def asked(self, cases: Cases | None, seed: Seed = 0) -> SampledCases:
        """Held-out cases with candidates, for ``evaluate(…, cases=…)``; the rule goes into the report.

        Raises: DataError: there are no cases (they went into the training part).
        """
        if cases is None:
            raise DataError("this split has no such cases left; pass those of the split that has them")
        return with_candidates(cases, self.held_out(cases, seed), f"{self.rule}, shuffled (seed {seed})")


class Uniform(CandidateSource):
    """The target and ``n`` items drawn uniformly from those that the user never has (or has not had so far).

    ``unseen`` is that of :func:`seqlore.evaluation.sample_candidates`.
    """

    def __init__(self, n: int = 99, unseen: Unseen = "user") -> None:
        super().__init__()
        self.n, self.unseen, self.length = n, unseen, n + 1
        self.rule = uniform_rule(n, unseen)

    def _fit(self, split: Split) -> None:
        self._owned = items_of_users(split) if self.unseen == "user" else None

    def training(self, cases: Cases, seed: Seed) -> NDArray[np.int32]:
        return self.held_out(cases, seed)

    def held_out(self, cases: Cases, seed: Seed) -> NDArray[np.int32]:
        size = self.split.catalog.size
        try:
            drawn = target_and_unseen(cases, self.n, size=size, seed=seed, owned=self._owned)
        except DataError as error:
            wider = ', or draw later items too with unseen = "history"' if self._owned is not None else ""
            raise DataError(
                f"Uniform(n={self.n}, unseen={self.unseen!r}): {error} (n, in a recipe candidates.n){wider}"
            ) from error
        return shuffled(drawn, seed)


class Retrieved(CandidateSource):
    """The first ``k`` items of a recommender, cross-fitted over ``folds`` folds of the training users.

    ``retriever`` makes an unfitted recommender; it is called ``folds + 1`` times a split. ``whole`` is the one that was
    fitted on all training sequences: it serves held-out cases and the finished two-stage model.
    """

    def __init__(
        self,
        retriever: Callable[[], Recommender],
        k: int = 100,
        folds: int = 5,
        seed: int = 0,
        *,
        keep: Path | None = None,
    ) -> None:
        """Args: keep: a folder in which fitted retrievers stay, and where those of the same split and settings are
        found again, so that a run that goes on later has the lists that it had."""
        super().__init__()
        if folds < 2 or k < 2:
            raise ConfigError(f"folds={folds}, k={k}: give two or more of each")
        self.retriever, self.k, self.folds, self.seed, self.length = retriever, k, folds, seed, k
        self.keep = keep
        self._first: Recommender | None = retriever()  # its name is asked at once, its fit comes later
        # Two retrievers of one name make other lists, and what was trained on these must not pass for those.
        made = digest(8, settings=self._first.config.model_dump(mode="json"), seed=seed)
        self.rule = f"first {k} of {self._first.name} ({made}), for training cross-fitted over {folds} folds of users"

    def _fit(self, split: Split) -> None:
        if len(split.train) < self.folds:
            raise DataError(f"{len(split.train)} training sequences cannot be divided into {self.folds} folds of users")
        unfitted, self._first = self._first or self.retriever(), None
        self.whole = self._fitted(unfitted, split, "whole")
        deal = np.random.default_rng((self.seed, 5)).permutation(split.users.size)
        self._fold_of = deal % self.folds  # by dense user index
        self.parts = [
            self._fitted(self.retriever(), self._without(split, fold), f"fold-{fold}") for fold in range(self.folds)
        ]

    def _fitted(self, model: Recommender, split: Split, part: str) -> Recommender:
        """``model``, fitted on ``split``, the ``part`` of what this source was given, or what is kept of it."""
        if self.keep is None:
            return model.fit(split)
        about = {"rule": self.rule, "dataset": split.dataset.hash, "split": split.how, "seqlore": __version__}
        folder = self.keep / digest(**about) / part
        if (folder / "config.json").is_file():
            return load(folder)
        model.fit(split).save(folder)
        return model

    def _without(self, split: Split, fold: int) -> Split:
        """The split with no trace of the fold's users, neither in training nor among the cases that stop a net."""

        def others(sequences: Sequences) -> NDArray[np.bool_]:
            return self._fold_of[sequences.users] != fold

        valid = None if split.valid is None else split.valid.take(others(split.valid.histories))
        return replace(split, train=split.train.take(others(split.train)), valid=valid, folds=[])

    def training(self, cases: Cases, seed: Seed) -> NDArray[np.int32]:
        out = np.zeros((len(cases), self.k), np.int32)
        fold = self._fold_of[cases.histories.users]
        for each, model in enumerate(self.parts):
            rows = np.flatnonzero(fold == each)
            out[rows] = self._lists(model, cases.histories.take(rows))
        return shuffled(out, seed)

    def held_out(self, cases: Cases, seed: Seed) -> NDArray[np.int32]:
        return shuffled(self._lists(self.whole, cases.histories), seed)

    def _lists(self, model: Recommender, histories: Sequences) -> NDArray[np.int32]:
        if not len(histories):
            return np.zeros((0, self.k), np.int32)
        items = model.rank(histories, min(self.k, len(model.catalog))).items
        return np.pad(items, ((0, 0), (0, self.k - items.shape[1])))
