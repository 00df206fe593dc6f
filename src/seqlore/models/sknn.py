"""Session-based nearest neighbours: SKNN, V-SKNN, S-SKNN and SF-SKNN, as sparse matrix products.

M. Ludewig and D. Jannach, "Evaluation of session-based recommendation algorithms", User Modeling and User-Adapted
Interaction 28 (2018), 10.1007/s11257-018-9209-6. For a history s and the memory of training sessions, of which n are
the k most similar ones:

    score(i | s) = idf(i) · Σ_n [i ∈ n] · similarity(s, n) · position(s, n)

``VSKNN`` lets the items of s fade with their age in the similarity, ``SSKNN`` weighs a neighbour by the latest item
that it shares with s, ``SFSKNN`` keeps the items alone that directly followed the last item of s in some training
session. All four are one model with different defaults.

Deliberate choices, where the paper and the two public implementations differ or are silent:

* ``VSKNN`` divides by the session's length (cosine), which does better on Beauty than the paper's dot product, and
  weighs listed items by idf, as both implementations can; its decay is harmonic, the paper's linear.
* An item that recurs in a history counts once, at its latest place; items that training never saw are skipped, and
  places are counted among those that remain.
* "random" sampling prefers sessions in one order drawn at fit time and not anew for each history, so that equal
  histories get equal lists. Ties between neighbours go to the session that sampling prefers.
* idf(i) = 1 + idf_weighting · ln(sessions / sessions with i).
* Sessions fade by their distance from the newest one and not from the history, which changes no order, so that a
  history needs no timestamps.
* Where places are weighed, a history is cut to its latest 500 items.
* The session from which a history comes may be in the memory (leave-one-out). It is not excluded, as nothing marks
  it: it can add evidence for items of the history alone, which are masked, and costs one of the k places.
* A list holds items with evidence only, so it may be short. A history without any gets the popular items.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.sparse import csr_array
from torch import Tensor

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.errors import DataError
from seqlore.models._sparse import (
    Decay,
    Floats,
    blocks,
    decay_weights,
    distinct,
    largest,
    product,
    rows_matrix,
    select,
    stack,
    steps,
    to_scores,
)
from seqlore.recommender import ScoringRecommender

#: Pairs of history and candidate session that are held at once: 4 M take some 100 MB.
PAIRS = 1 << 22
#: The latest shared item is found among this many: 4^-500 is near the smallest float64.
LONGEST = 500
DAY = 86_400.0


class SKNNConfig(Config):
    """Settings of the session-based neighbours."""

    k: int = Field(default=100, ge=1)
    """Neighbours whose items are counted."""
    sample_size: int | None = Field(default=1000, ge=1)
    """Candidate sessions among which the neighbours are sought; None: all that share an item with the history."""
    sampling: Literal["recent", "random", "idf"] = "recent"
    """Which candidates are kept: the latest sessions, a random choice, those whose shared items have most idf."""
    similarity: Literal["cosine", "dot", "jaccard", "dice"] = "cosine"
    """Between the (weighted) items of the history and the set of items of a session."""
    decay: Decay = "none"
    """How the items of the history fade with their age, in the similarity."""
    position_weighting: Decay = "none"
    """How a neighbour counts by the age, in the history, of the latest item that both share."""
    sequential_filter: bool = False
    """List only items that directly followed the history's last item in some training session."""
    idf_weighting: float = Field(default=0.0, ge=0)
    """Strength of the idf factor of the listed items; 0 is off."""
    idf_similarity: float = Field(default=0.0, ge=0)
    """Strength of the same factor for the items of the history, in the similarity; 0 is off."""
    half_life: float | None = Field(default=None, gt=0)
    """Days in which the similarity of a session halves with its age (counted from the newest session); None is off."""
    last_n_items: int | None = Field(default=None, ge=1)
    """Look at the latest items of the history only; None: all."""
    seed: int = 0
    """Of random sampling."""

    @property
    def random(self) -> bool:
        """The seed is read by random sampling alone."""
        return self.sampling == "random"

    @model_validator(mode="after")
    def _sets_have_no_weights(self) -> Self:
        if self.similarity in ("jaccard", "dice") and (self.decay != "none" or self.idf_similarity):
            raise ValueError(
                f"similarity {self.similarity!r} compares sets, so decay must be 'none' and idf_similarity 0; "
                "or choose 'cosine' or 'dot'"
            )
        return self


class SKNN(ScoringRecommender):
    """Session-based nearest neighbours (see the module)."""

    paper: ClassVar[str] = "Ludewig & Jannach, UMUAI 2018, 10.1007/s11257-018-9209-6"
    Config: ClassVar[type[Config]] = SKNNConfig

    def _fit(self, split: Split) -> None:
        train = split.train.take(split.train.lengths > 0)
        newest = np.zeros(len(train), np.int64)
        if train.timestamps is not None:
            newest = np.maximum.reduceat(train.timestamps, train.offsets[:-1])
        elif self.config.half_life is not None:
            raise DataError(
                f"{self.name}: half_life needs a timestamp on every interaction; leave it out, or fill the column in"
            )
        # Sessions of the same time are told apart by their users' dense index, which is a hash: the order of a file
        # may carry time. Without timestamps that order is all there is, and the later session counts as more recent.
        order = np.arange(len(train)) if train.timestamps is None else np.lexsort((train.users, newest))
        if self.config.sampling == "random":
            order = np.random.default_rng(self.config.seed).permutation(len(train))
        self._build(train.take(order), newest[order])

    def _build(self, memory: Sequences, newest: NDArray[np.int64]) -> None:
        """Index ``memory``, whose sessions stand in order of preference, the most preferred last.

        Args: newest: int64 [S], the latest time of each session in seconds.
        """
        config, size = self.config, self.catalog.size
        self._memory, self._newest = memory, newest
        sessions = rows_matrix(memory, np.ones(len(memory.items)), size)
        sessions.data[:] = 1.0  # a session is a set: an item that recurs counts once
        self._sessions = sessions  # [S, size]
        self._lengths = np.diff(sessions.indptr)
        postings = csr_array(sessions.T)  # [size, S], columns ascend
        frequency = np.diff(postings.indptr)
        self._known = frequency > 0
        self._rarity = np.log(len(memory) / np.maximum(frequency, 1))
        counts = memory.counts(size)
        self._popularity = counts / (counts.sum() + 1.0)
        if config.sample_size is not None and config.sampling != "idf":
            # A session among the sample_size preferred candidates is also among the sample_size preferred sessions
            # of each item that it shares with the history, so shorter postings change no list.
            place = np.repeat(postings.indptr[1:], frequency) - np.arange(postings.nnz)
            postings = select(postings, place <= config.sample_size)
        self._postings = postings
        self._discount = np.ones(len(memory))
        if config.half_life is not None:
            self._discount = np.exp2(np.maximum((newest - newest.max()) / (DAY * config.half_life), -1000.0))
        if config.sequential_filter:
            first = np.flatnonzero(np.diff(memory.row_ids) == 0)
            pairs = (memory.items[first], memory.items[first + 1])
            self._follows = csr_array((np.ones(len(first)), pairs), shape=(size, size))
            self._follows.data[:] = 1.0

    def score(self, histories: Sequences) -> Tensor:
        """Evidence for each item, float32 [n, size]; −∞ where there is none, below zero where popularity stands in."""
        limit = self.config.last_n_items
        if self.config.position_weighting != "none":
            limit = min(limit or LONGEST, LONGEST)
        asked = distinct(histories, self._known, limit)
        reach = np.concatenate([[0], np.cumsum(np.diff(self._postings.indptr)[asked.items])])
        parts = [self._evidence(asked.take(block)) for block in blocks(np.diff(reach[asked.offsets]), PAIRS)]
        return to_scores(stack(parts, self.catalog.size), histories, self._popularity)

    def _evidence(self, asked: Sequences) -> csr_array:
        """[n, size]; entries are positive."""
        config, step = self.config, steps(asked)

        def over_shared(weights: Floats) -> csr_array:
            """[n, S], Σ of ``weights`` over shared items; all such products list the same pairs in the same order."""
            return product(rows_matrix(asked, weights, self.catalog.size), self._postings)

        weights = decay_weights(config.decay, step, np.repeat(asked.lengths, asked.lengths))
        weights *= 1.0 + config.idf_similarity * self._rarity[asked.items]
        pairs = over_shared(weights)
        row = np.repeat(np.arange(len(asked)), np.diff(pairs.indptr))
        theirs, ours = self._lengths[pairs.indices], asked.lengths[row]
        match config.similarity:
            case "cosine":
                norm = np.sqrt(np.bincount(asked.row_ids, weights**2, minlength=len(asked)))
                pairs.data /= norm[row] * np.sqrt(theirs)
            case "jaccard":
                pairs.data /= ours + theirs - pairs.data
            case "dice":
                pairs.data *= 2.0 / (ours + theirs)
        pairs.data *= self._discount[pairs.indices]
        position = np.ones(pairs.nnz)
        if config.position_weighting != "none":
            # The largest power in Σ 4^−step tells the latest shared item: the others together add less than it.
            latest = (1 - np.frexp(over_shared(np.exp2(-2.0 * step)).data)[1]) // 2
            position = decay_weights(config.position_weighting, latest, ours)
        if config.sample_size is not None:
            value = np.zeros(pairs.nnz)  # all equal: the preferred sessions win
            if config.sampling == "idf":
                value = over_shared(1.0 + self._rarity[asked.items]).data
            keep = largest(csr_array((value, pairs.indices, pairs.indptr), shape=pairs.shape), config.sample_size)
            pairs, position = select(pairs, keep), position[keep]
        keep = largest(pairs, config.k)
        neighbours = select(pairs, keep)
        neighbours.data *= position[keep]
        evidence = product(neighbours, self._sessions)
        if config.sequential_filter:
            last = np.zeros(len(asked), np.int64)
            last[asked.lengths > 0] = asked.items[asked.offsets[1:][asked.lengths > 0] - 1]
            evidence = csr_array(evidence.multiply(self._follows[last]))
        evidence.data *= 1.0 + config.idf_weighting * self._rarity[evidence.indices]
        return evidence

    def state(self) -> dict[str, Tensor]:
        """The memory, in order of preference."""
        arrays = {"items": self._memory.items, "offsets": self._memory.offsets, "newest": self._newest}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Index the memory anew."""
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        self._build(Sequences(arrays["items"], arrays["offsets"]), arrays["newest"])


class VSKNNConfig(SKNNConfig):
    """Settings of V-SKNN, tuned on Beauty; Harte et al. have similarity="dot", k=70, all items of the history."""

    k: int = Field(default=150, ge=1)
    decay: Decay = "harmonic"
    idf_weighting: float = Field(default=1.0, ge=0)
    last_n_items: int | None = Field(default=5, ge=1)


class VSKNN(SKNN):
    """V-SKNN: the items of the history fade with their age in the similarity."""

    Config: ClassVar[type[Config]] = VSKNNConfig


class SSKNNConfig(SKNNConfig):
    """Settings of S-SKNN."""

    position_weighting: Decay = "relative"


class SSKNN(SKNN):
    """S-SKNN: a neighbour counts by the place, in the history, of the latest item that both share."""

    Config: ClassVar[type[Config]] = SSKNNConfig


class SFSKNNConfig(SKNNConfig):
    """Settings of SF-SKNN."""

    sequential_filter: bool = True


class SFSKNN(SKNN):
    """SF-SKNN: only items that directly followed the history's last item in some training session."""

    Config: ClassVar[type[Config]] = SFSKNNConfig
