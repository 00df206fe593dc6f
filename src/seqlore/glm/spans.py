"""Which spans of a document are blanked: three levels, in whole units.

Chu et al. 2023 (arXiv 2308.10837), section "Mask Mechanism", on Du et al. 2022 (arXiv 2103.10360). A unit is an
entity or a token that is of none; spans are given as token positions [start, stop), ascending, with at least one token
between neighbours.

* entity level, [MASK]: lengths in units from a Poisson distribution without its zero (as in GLM's code), drawn until a
  share of the *tokens* is blanked;
* sentence level, [sMASK]: whole sentences, to the same share;
* document level, [gMASK]: one span to the end, a uniform share of the tokens, its beginning moved to the nearest edge.

Plain GLM is the same with every token a unit.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from seqlore.config import Config
from seqlore.glm.marks import LEVELS

Ints = NDArray[np.int64]

#: Longest span that is drawn, as in GLM's code.
LONGEST = 40


class MaskConfig(Config):
    """Settings of the masks."""

    levels: tuple[float, float, float] = Field(
        default=(0.4, 0.3, 0.3),
        description="Shares of documents that are blanked by entity, by sentence, and to their end.",
    )
    ratio: float = Field(default=0.15, gt=0, lt=1, description="Least share of a document's tokens that spans blank.")
    mean_length: float = Field(default=3.0, gt=0, description="λ of the Poisson distribution of a span's units.")
    tail: tuple[float, float] = Field(
        default=(0.5, 1.0), description="Share of a document that [gMASK] blanks: from, to."
    )
    units: bool = Field(default=True, description="Entities are units (paper); no: every token is one (plain GLM).")
    chronological: bool = Field(
        default=True,
        description="Part B has its blanks in the order of the text (paper); no: in random order (plain GLM).",
    )

    @model_validator(mode="after")
    def _shares(self) -> MaskConfig:
        if min(self.levels) < 0 or not np.isclose(sum(self.levels), 1):
            raise ValueError(f"levels = {self.levels}: the three shares must sum to 1")
        if not 0 < self.tail[0] <= self.tail[1] <= 1:
            raise ValueError(f"tail = {self.tail}: give a smaller and a larger share")
        return self


def unit_edges(entity: NDArray[np.integer]) -> Ints:
    """Where units begin, and the end: int64 [units + 1], for the entity number of each token (0 = of none)."""
    if not len(entity):
        return np.zeros(1, np.int64)
    begins = (entity[1:] != entity[:-1]) | (entity[1:] == 0)
    return np.r_[0, np.flatnonzero(begins) + 1, len(entity)].astype(np.int64)


def sentence_edges(ends: NDArray[np.bool_]) -> Ints:
    """Where sentences begin, and the end: int64 [sentences + 1], for whether a sentence ends with each token."""
    edges = np.flatnonzero(ends) + 1
    return np.unique(np.r_[0, edges, len(ends)]).astype(np.int64)


@lru_cache
def _lengths(mean: float) -> NDArray[np.float64]:
    """Cumulative distribution of 1 … LONGEST."""
    n = np.arange(1, LONGEST + 1)
    log = n * np.log(mean) - np.cumsum(np.log(n))
    p = np.exp(log - log.max())
    return np.cumsum(p / p.sum())


def sample_spans(edges: Ints, rng: np.random.Generator, ratio: float, mean: float | None) -> Ints:
    """[spans, 2]: spans of whole units that neither overlap nor touch, until ``ratio`` of the tokens are in one.

    A span for which there is no room is shortened; where not even a unit has room, there are fewer.

    Args: edges: of the units. mean: λ of the lengths in units; None = every span is one unit.
    """
    n, tokens = len(edges) - 1, int(edges[-1])
    taken = np.zeros(n + 2, np.int64)  # unit i stands at i + 1, between two that are none
    found: list[tuple[int, int]] = []
    blanked = 0
    while blanked < ratio * tokens:
        length = 1 if mean is None else 1 + int(np.searchsorted(_lengths(mean), rng.random()))
        below = np.r_[0, np.cumsum(taken)]  # [n + 3]
        for size in range(min(length, n), 0, -1):
            room = np.flatnonzero(below[size + 2 :] == below[: n + 1 - size])  # the span and its neighbours are free
            if len(room):
                break
        else:
            break
        start = int(rng.choice(room))
        taken[start + 1 : start + 1 + size] = 1
        found.append((int(edges[start]), int(edges[start + size])))
        blanked += found[-1][1] - found[-1][0]
    return np.array(sorted(found), np.int64).reshape(-1, 2)


def sample_tail(edges: Ints, rng: np.random.Generator, shares: tuple[float, float]) -> Ints:
    """[1, 2]: the last share of the tokens, from the nearest edge that leaves it at least the smaller of ``shares``."""
    tokens = int(edges[-1])
    if not tokens:
        return np.zeros((0, 2), np.int64)
    wanted = tokens * (1 - rng.uniform(*shares))
    allowed = edges[edges <= tokens * (1 - shares[0])]
    return np.array([[allowed[np.abs(allowed - wanted).argmin()], tokens]], np.int64)


def sample_blanks(
    entity: NDArray[np.integer], ends: NDArray[np.bool_], rng: np.random.Generator, config: MaskConfig
) -> tuple[Ints, int]:
    """([spans, 2], level as a position in ``LEVELS``) for one document.

    A document of one sentence cannot be blanked by sentence without losing all of it, so it is blanked by entity.

    Args: entity, ends: of each token, its entity (0 = of none), and whether a sentence ends with it.
    """
    edges = unit_edges(entity if config.units else np.zeros_like(entity))
    level = LEVELS[int(np.searchsorted(np.cumsum(config.levels)[:2], rng.random(), side="right"))]
    sentences = sentence_edges(ends)
    if level == "gmask":
        return sample_tail(edges, rng, config.tail), LEVELS.index(level)
    if level == "smask" and len(sentences) > 2:
        return sample_spans(sentences, rng, config.ratio, None), LEVELS.index(level)
    return sample_spans(edges, rng, config.ratio, config.mean_length), LEVELS.index("mask")
