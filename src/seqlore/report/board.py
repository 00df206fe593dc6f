"""``leaderboard.json`` as typed values."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def finite(value: Any) -> Any:
    """None in place of what is no number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(finite)]


class _Part(BaseModel):
    """A part of ``leaderboard.json``. Keys that a later version adds are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Metric(_Part):
    """One metric of one row: mean and s.d. over seeds, the value of the seed that is best by the run's main metric, and
    the 95 % interval over cases (seeds averaged)."""

    mean: Number = None
    sd: Number = None
    best: Number = None
    values: list[Number] = []
    ci: tuple[Number, Number] | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """``ci``, where both ends are known."""
        low, high = self.ci or (None, None)
        return None if low is None or high is None else (low, high)


class SeedRun(_Part):
    """One fit of one row: its files, relative to the run folder."""

    seed: int
    model_folder: str | None = None
    cases: str | None = None
    log: str | None = None
    epochs: int | None = None
    best_epoch: int | None = None


class Row(_Part):
    """One line of the leaderboard: a model with its settings under one tie rule."""

    label: str
    model: str
    settings: dict[str, Any] = {}
    ties: str = "file"
    split: dict[str, Any] = {}
    fit_on: str = "train"
    seeds: list[int] = []
    metrics: dict[str, Metric] = {}
    published: dict[str, Number] = {}
    published_source: str | None = None
    #: The published values are the best of several runs.
    published_best: bool = False
    fit_seconds: Number = None
    evaluate_seconds: Number = None
    peak_memory_mb: Number = None
    peak_gpu_memory_mb: Number = None
    parameters: int | None = None
    text: bool = False
    runs: list[SeedRun] = []
    error: str | None = None

    def mean(self, key: str) -> float | None:
        """The mean over seeds, or None where the row has no such metric."""
        return self.metrics[key].mean if key in self.metrics else None

    @property
    def diagnostics(self) -> dict[str, float]:
        """What the model told of its lists, as shares: means over seeds."""
        known = ("cases", "tied_targets")
        told = {key: metric.mean for key, metric in self.metrics.items() if "@" not in key and key not in known}
        return {key.replace("_", " "): mean for key, mean in told.items() if mean is not None}

    def best(self, key: str) -> float | None:
        """The best seed's value, or None where the row has no such metric."""
        return self.metrics[key].best if key in self.metrics else None

    def difference(self, key: str) -> float | None:
        """Ours minus the published value: the mean over seeds, or, where a best was published, the best seed's."""
        ours = self.best(key) if self.published_best else self.mean(key)
        theirs = self.published.get(key)
        return None if ours is None or theirs is None else ours - theirs


class Comparison(_Part):
    """A paired test of row ``a`` against row ``b``; ``difference`` is a − b."""

    a: str
    b: str
    ties: str = "file"
    metric: str
    difference: Number = None
    ci: tuple[Number, Number] | None = None
    p: Number = None
    p_adjusted: Number = None
    correction: str | None = None
    test: str | None = None

    @property
    def decisive_p(self) -> float | None:
        """The adjusted p where a correction was made, else the raw one."""
        return self.p if self.p_adjusted is None else self.p_adjusted


class Leaderboard(_Part):
    """``leaderboard.json``."""

    name: str
    created: str = ""
    seqlore: str = ""
    about: dict[str, Any] = {}
    at: list[int] = [10]
    rows: list[Row]
    comparisons: list[Comparison] = []
    winner: Any = None
