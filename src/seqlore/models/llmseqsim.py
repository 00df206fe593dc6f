"""LLMSeqSim: items whose text is like the text of the history.

J. Harte et al., "Leveraging large language models for sequential recommendation", RecSys 2023,
10.1145/3604915.3610639, section 3.1: a language model embeds the items' names, the vectors of a history's items are
combined into one (their mean, with or without decay by age, or the last item's vector alone; or the names are
concatenated and embedded anew), and the nearest items are listed. Nothing is trained.

An item that recurs in a history counts each time, as the paper averages the products of a session.

Deliberate choices where the paper is silent: an item without text is skipped in a history and never listed; a history
without any text gets the popular items; concatenated names stand latest first, so that an encoder that cuts long texts
loses the oldest; the Euclidean similarity is −½‖x − y‖², which orders items as the authors' 1 / (1 + ‖x − y‖) does and,
like the other two, is an inner product (of vectors two entries longer), so that one index serves all three.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import normalize, pad

from seqlore.config import Config
from seqlore.data import Sequences, Split
from seqlore.models._sparse import decay_weights, rows_matrix, steps
from seqlore.recommender import ScoringRecommender
from seqlore.text.reduce import reduce
from seqlore.text.source import TextSource


class LLMSeqSimConfig(Config):
    """Settings of LLMSeqSim."""

    text: TextSource = TextSource()
    """Which texts, and their encoder."""
    pooling: Literal["last", "mean", "linear", "relative", "log", "harmonic", "quadratic", "exponential", "concat"] = (
        "last"
    )
    """The last item's vector; the mean of all; a mean in which items fade with their age (the formulas are those of
    ``decay`` in the other models); or the vector of the concatenated texts, for which the encoder is asked anew."""
    similarity: Literal["cosine", "dot", "euclidean"] = "cosine"
    """Between the combined vector and an item's."""
    reduce: Literal["pca", "whiten", "random", "autoencoder"] | None = None
    """How the vectors are reduced to ``width`` first; None: not at all."""
    width: int = Field(default=64, ge=1)
    """Entries of a reduced vector."""
    last_n_items: int | None = Field(default=None, ge=1)
    """Look at the latest events of the history only; None: all."""
    seed: int = 0
    """Of the reduction."""

    @property
    def random(self) -> bool:
        """Only what is reduced knows chance."""
        return self.reduce is not None

    @model_validator(mode="after")
    def _one_space(self) -> Self:
        if self.pooling == "concat" and self.reduce is not None:
            raise ValueError("pooling 'concat' embeds new texts, which are not reduced: leave reduce out")
        return self


class LLMSeqSim(ScoringRecommender):
    """The nearest items in the space of text vectors. Learns nothing but popularity, for histories without text."""

    paper: ClassVar[str] = "Harte et al., RecSys 2023, 10.1145/3604915.3610639"
    Config: ClassVar[type[Config]] = LLMSeqSimConfig

    def _fit(self, split: Split) -> None:
        config, catalog = self.config, split.catalog
        vectors = config.text.vectors(catalog)
        if config.reduce is not None:
            vectors = reduce(vectors, config.width, config.reduce, config.seed)
        counts = torch.from_numpy(split.counts())
        self.restore({"vectors": pad(torch.from_numpy(vectors), (0, 0, 1, 0)), "popularity": counts / counts.sum()})

    def state(self) -> dict[str, Tensor]:
        """The vectors [size, d], so that a loaded model needs no encoder (but for "concat"), and popularity."""
        return {"vectors": self._vectors, "popularity": self._popularity}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take them back."""
        self._vectors, self._popularity = state["vectors"].float(), state["popularity"].float()
        self._has_text = (self._vectors != 0).any(1)  # [size]
        match self.config.similarity:
            case "cosine":
                self._keys = normalize(self._vectors, dim=1)
            case "dot":
                self._keys = self._vectors
            case "euclidean":
                half = -0.5 * self._vectors.square().sum(1, keepdim=True)
                self._keys = torch.cat([self._vectors, half, torch.ones_like(half)], 1)

    def item_vectors(self) -> Tensor:
        """[size, d], such that a score is an inner product with :meth:`encode`."""
        return self._keys

    def encode(self, histories: Sequences) -> Tensor:
        """[n, d]; zero for a history without text."""
        asked = histories.where(self._has_text.numpy()[histories.items])
        asked = asked if self.config.last_n_items is None else asked.last(self.config.last_n_items)
        pooled = self._concatenated(asked) if self.config.pooling == "concat" else self._mean(asked)
        match self.config.similarity:
            case "cosine":
                return normalize(pooled, dim=1)
            case "dot":
                return pooled
            case "euclidean":
                half = -0.5 * pooled.square().sum(1, keepdim=True)
                return torch.cat([pooled, torch.ones_like(half), half], 1)
        raise AssertionError(self.config.similarity)

    def _mean(self, asked: Sequences) -> Tensor:
        """[n, d], the weighted mean of the items' vectors."""
        pooling = self.config.pooling
        if pooling == "last":
            asked = asked.last(1)
        decay = "none" if pooling in ("last", "mean") else pooling
        weights = decay_weights(decay, steps(asked), np.repeat(asked.lengths, asked.lengths))
        total = np.bincount(asked.row_ids, weights, minlength=len(asked))
        weights /= total[asked.row_ids]
        matrix = rows_matrix(asked, weights, len(self._vectors)).astype(np.float32)
        return torch.from_numpy(matrix @ self._vectors.numpy())

    def _concatenated(self, asked: Sequences) -> Tensor:
        """[n, d], the vectors of the items' texts one after another, latest first."""
        source = self.config.text
        texts = ["", *self.catalog.texts(source.fields)]
        joined = [", ".join(texts[i] for i in history[::-1]) for history in asked]
        out = torch.zeros(len(asked), self._vectors.shape[1])
        full = np.flatnonzero(asked.lengths)
        if len(full):
            out[torch.from_numpy(full)] = torch.from_numpy(source.embed_texts([joined[i] for i in full]))
        return out

    def score(self, histories: Sequences) -> Tensor:
        """Similarity to each item, float32 [n, size]; −∞ for an item without text."""
        query = self.encode(histories)
        scores = (query @ self._keys.T).masked_fill_(~self._has_text, -torch.inf)
        mute = torch.from_numpy(
            np.bincount(histories.row_ids, self._has_text.numpy()[histories.items], minlength=len(histories)) == 0
        )
        scores[mute] = self._popularity
        return scores
