"""The contract of rerankers: candidates in, the same candidates in a better order out.

A reranker has one primitive, ``score(histories, candidates)``; a model that only orders returns minus the place.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.config import nearest
from seqlore.data import Sequences, Split
from seqlore.errors import ConfigError, DataError
from seqlore.ranking import Lists
from seqlore.recommender import RERANKERS, Model, load_any, named
from seqlore.rerank.candidates import CandidateSource, Uniform

#: Lists that are scored together by :meth:`Reranker.rerank`.
CHUNK = 4096


class Reranker(Model):
    """A model that orders candidates for histories; subclasses implement ``_fit`` and ``score``.

    To let it answer without candidates, serve it in a :class:`seqlore.rerank.TwoStage`. Evaluate it on cases with
    candidates: ``evaluate(reranker, split, cases=source.asked(split.test))``.
    """

    def fit(self, split: Split, candidates: CandidateSource | None = None, **options: Any) -> Self:
        """Learn from lists made of ``split.train``; stop on lists made of ``split.valid``. Returns the model itself.

        Args:
            candidates: where the lists come from; None: the target and 99 items drawn uniformly. An unfitted source is
                fitted.
            options: those of ``_fit`` of the family.
        """
        self._learns_from(split)
        source = (candidates or Uniform()).fitted(split)
        self.about["candidates"] = source.rule
        self._bind(options.get("checkpoint"))
        self._fit(split, source, **options)
        return self

    @abstractmethod
    def _fit(self, split: Split, source: CandidateSource) -> None: ...

    @abstractmethod
    def score(self, histories: Sequences, candidates: NDArray[np.integer]) -> Tensor:
        """Scores float32 [n, c] of ``candidates`` [n, c], which pad with 0 on the right; what pads may have any."""

    @torch.no_grad()
    def rerank(self, histories: Sequences, candidates: NDArray[np.integer]) -> Lists:
        """The candidates of each history, best first; equal scores by lower index, as everywhere.

        Args: candidates: dense indices [n, c], without repetition in a row, 0 pads on the right. Models that read the
            order of candidates read this one.

        Raises: ConfigError: it has not been fitted. DataError: not one row of candidates a history, a candidate that
            the catalogue has not, or a score is not a number (training diverged).
        """
        if not isinstance(histories, Sequences) or not isinstance(candidates, np.ndarray):
            raise DataError(
                f"{self.name}: rerank reads Sequences and an array of indices; catalog.index makes them of ids, "
                "Sequences.from_lists of lists of them, and TwoStage.recommend takes ids as they are"
            )
        size = self.catalog.size
        if candidates.size and not 0 <= candidates.min() <= candidates.max() < size:
            wrong = int(candidates.max() if candidates.min() >= 0 else candidates.min())
            raise DataError(
                f"{self.name}: candidate {wrong} is no item: indices go from 1 to {size - 1}, and 0 pads; "
                "catalog.index makes them of ids"
            )
        if candidates.ndim != 2 or len(candidates) != len(histories):
            raise DataError(
                f"{self.name}: candidates of shape {candidates.shape} for {len(histories)} histories: give one row each"
            )
        parts = []
        for start in range(0, len(histories) if candidates.size else 0, CHUNK):
            cut = slice(start, start + CHUNK)
            scores = self.score(histories.take(cut), candidates[cut]).float().cpu().numpy()
            parts.append(_ordered(candidates[cut], scores))
        return Lists.concat(parts) if parts else Lists(candidates.astype(np.int32), candidates.astype(np.float32))

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
    ) -> Lists:
        """The first k of :meth:`rerank`. Seen candidates are taken out before the model sees the list.

        Raises: DataError: there are no candidates.
        """
        if candidates is None:
            raise DataError(f"{self.name} orders candidates and finds none: give it some, or serve it in TwoStage")
        rows = distinct(np.broadcast_to(candidates, (len(histories), candidates.shape[-1])))
        lists = self.rerank(histories, without_seen(histories, rows) if exclude_seen else rows)
        items, scores = lists.items[:, :k], lists.scores[:, :k]
        short = ((0, 0), (0, max(0, k - items.shape[1])))
        return Lists(np.pad(items, short), np.pad(scores, short, constant_values=-np.inf))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A saved reranker. Raises: DataError: the folder holds none, or another model."""
        model = load_any(folder)
        if not isinstance(model, cls):
            raise DataError(f"{folder}: holds {model.name}, which is no {cls.__name__}; load it with seqlore.load")
        return model


def reranker_class(name: str) -> type[Reranker]:
    """The class registered under ``name``. Raises: ConfigError: no such reranker; the message names the nearest."""
    if name not in RERANKERS:
        raise ConfigError(f"there is no reranker {name!r}{nearest(name, RERANKERS)}; there are {', '.join(RERANKERS)}")
    return named(RERANKERS[name])


def distinct(candidates: NDArray[np.integer]) -> NDArray[np.integer]:
    """Candidates [n, c], each once a row, where it stood first; zeros go to the right of rows that had repetitions."""
    order = np.argsort(candidates, axis=1, kind="stable")
    ordered = np.take_along_axis(candidates, order, 1)
    again = np.zeros(candidates.shape, bool)
    np.put_along_axis(again, order[:, 1:], (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0), 1)
    if not again.any():
        return candidates
    kept = np.where(again, 0, candidates)
    return np.take_along_axis(kept, np.argsort(kept == 0, axis=1, kind="stable"), 1)


def without_seen(histories: Sequences, candidates: NDArray[np.integer]) -> NDArray[np.int32]:
    """Candidates [n, c] without items of the history; what is left keeps its order, zeros go to the right."""
    size = int(max(candidates.max(initial=0), histories.items.max(initial=0))) + 1
    keys = np.arange(len(candidates))[:, None] * size + candidates
    kept = np.where(np.isin(keys, histories.row_ids * size + histories.items), 0, candidates)
    return np.take_along_axis(kept, np.argsort(kept == 0, axis=1, kind="stable"), 1).astype(np.int32)


def _ordered(candidates: NDArray[np.integer], scores: NDArray[np.float32]) -> Lists:
    scores = np.where(candidates > 0, scores, -np.inf).astype(np.float32)
    if np.isnan(scores).any():
        raise DataError("a reranker returned scores that are not numbers: its training diverged; lower learning_rate")
    order = np.lexsort((candidates, -scores), axis=1)
    return Lists(np.take_along_axis(candidates, order, 1).astype(np.int32), np.take_along_axis(scores, order, 1), None)
