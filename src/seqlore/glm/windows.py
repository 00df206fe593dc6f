"""Long-, medium- and short-term windows of a history, sampled at 10, 30 and 60 %.

Chu et al. 2023 (arXiv 2308.10837), section "Data Phase": months or years, weeks or months, days or hours. The paper
gives no numbers. Here a window is what happened within so many days of the latest event; where that is fewer events
than can say anything, or times are not known, it is the latest few: on Amazon's whole days a quarter of all events
fall on their user's last one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from seqlore.config import Config
from seqlore.data import Sequences

DAY = 86_400


class WindowConfig(Config):
    """Settings of the windows."""

    shares: tuple[float, float, float] = Field(
        default=(0.1, 0.3, 0.6), description="Of histories that are read in the long, the medium and the short term."
    )
    days: tuple[float, float] = Field(default=(90.0, 7.0), description="Days of the medium and the short term.")
    least: tuple[int, int] = Field(
        default=(8, 4), description="Events of the medium and the short term where time gives fewer, or is not known."
    )
    ends: Literal["latest", "any"] = Field(
        default="any", description="A medium or short window ends at the latest event, or at any, drawn anew each time."
    )

    @model_validator(mode="after")
    def _shares(self) -> WindowConfig:
        if min(self.shares) < 0 or not np.isclose(sum(self.shares), 1):
            raise ValueError(f"shares = {self.shares}: the three must sum to 1")
        return self


def draw_terms(n: int, rng: np.random.Generator, config: WindowConfig) -> NDArray[np.int64]:
    """int64 [n]: 0 = long, 1 = medium, 2 = short."""
    return np.searchsorted(np.cumsum(config.shares)[:2], rng.random(n), side="right")


def drawn_ends(
    sequences: Sequences, terms: NDArray[np.integer], rng: np.random.Generator, config: WindowConfig
) -> Sequences:
    """Medium and short terms up to an event by chance, of two at the least: else early events would hardly be read."""
    lengths = sequences.lengths
    some = np.minimum(lengths, 2 + np.floor(rng.random(len(lengths)) * np.maximum(lengths - 1, 0)).astype(np.int64))
    kept = np.where((terms > 0) & (config.ends == "any"), some, lengths)
    return sequences.slice(sequences.offsets[:-1], sequences.offsets[:-1] + kept)


def windowed(sequences: Sequences, terms: NDArray[np.integer], config: WindowConfig) -> Sequences:
    """Each sequence cut to its latest window of the given term (0 = long: all of it, 1 = medium, 2 = short)."""
    starts, stops = sequences.offsets[:-1], sequences.offsets[1:]
    least = np.array([0, *config.least])[terms]
    counted = np.maximum(starts, stops - least)
    if sequences.timestamps is None or not len(sequences.items):
        begin = counted
    else:
        time = sequences.timestamps
        latest = np.where(stops > starts, time[np.maximum(stops - 1, 0)], 0)
        seconds = np.array([0.0, *config.days])[terms] * DAY
        recent = time >= np.repeat(latest - seconds, sequences.lengths)
        before = np.r_[0, np.cumsum(~recent)]  # times ascend, so what is recent stands last
        begin = np.minimum(starts + before[stops] - before[starts], counted)
    return sequences.slice(np.where(terms == 0, starts, begin), stops)
