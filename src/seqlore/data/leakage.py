"""What a split gives away: held-out events in the training part, and the future of a target in what was learned.

The second is inherent to leave-one-out, where every user has a last event of their own: Ji, Sun, Zhang & Li, "A
Critical Study on Data Leakage in Recommender System Offline Evaluation", TOIS 2023 (10.1145/3569930).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.data.dataset import Dataset
from seqlore.data.findings import Finding, finding, percent
from seqlore.data.sequences import Cases
from seqlore.data.splits import Split

Times = NDArray[np.float64]


def as_floats(column: pl.Series) -> NDArray[np.float64]:
    """A numeric column, NaN where it is null."""
    return column.cast(pl.Float64()).fill_null(float("nan")).to_numpy()


def times(dataset: Dataset, rows: NDArray[np.int64]) -> Times:
    """When the events in these rows of the interactions happened, float64 [n] seconds; NaN where unknown."""
    if "timestamp" not in dataset.interactions.columns:
        return np.full(len(rows), np.nan)
    return as_floats(dataset.interactions["timestamp"])[rows]


def cases_where(cases: Cases, event: NDArray[np.bool_]) -> float:
    """Share of cases with an event of the history (bool [m]) for which something holds."""
    hit = np.zeros(len(cases), bool)
    hit[cases.histories.row_ids[event]] = True
    return share(hit)


def share(mask: NDArray[np.bool_]) -> float:
    """Mean of a mask; 0 where it is empty."""
    return float(mask.mean()) if len(mask) else 0.0


def split_findings(split: Split) -> Iterator[Finding]:
    """All checks of a split, on its test and validation cases."""
    for name, cases in (("test", split.test), ("valid", split.valid)):
        if cases is not None and len(cases):
            yield from _held_out(split, name, cases)
    if split.test is None or not len(split.test):
        return
    yield from _future(split, split.test)
    temporal = _is_temporal(split)
    unknown = share(split.counts()[split.test.targets] == 0)
    of_the = "test targets never occur in training; only text can find them"
    yield finding("split.unknown", "Targets unknown to training", unknown, of_the)
    users = split.test.histories.users
    known = share(np.isin(users[users > 0], split.train.users))
    of_the = "test cases belong to users whom training knows"
    yield finding("split.users", "Users in training and test", known, of_the, warning=1e-9 if temporal else np.inf)


def _is_temporal(split: Split) -> bool:
    return str(split.how.get("protocol", "")).startswith("temporal")


def _held_out(split: Split, name: str, cases: Cases) -> Iterator[Finding]:
    """Targets that are training events or stand in their own history; histories that reach beyond their target."""
    h, long = cases.histories, {"test": "test", "valid": "validation"}[name]
    title = f"{long.capitalize()} events in training"
    if cases.rows is None or h.rows is None or split.train.rows is None:
        detail = f"The {long} and training events do not tell their rows in the interactions: they cannot be compared."
        yield Finding(f"split.{name}_in_training", "note", title, detail)
        return
    told = share(np.isin(cases.rows, split.train.rows))
    yield finding(f"split.{name}_in_training", title, told, f"{long} targets are training events, too", danger=1e-9)
    own = cases_where(cases, h.rows == cases.rows[h.row_ids])
    of_the = f"{long} histories contain the very event that is asked for"
    yield finding(f"split.{name}_in_history", f"{long.capitalize()} targets in history", own, of_the, danger=1e-9)
    asked = times(split.dataset, cases.rows)
    late = cases_where(cases, times(split.dataset, h.rows) > asked[h.row_ids])
    of_the = f"{long} histories contain events later than their target"
    yield finding(f"split.{name}_late", f"{long.capitalize()} histories later than target", late, of_the, danger=1e-9)


def _future(split: Split, test: Cases) -> Iterator[Finding]:
    """How much of training happened after the targets."""
    if test.rows is None or split.train.rows is None:
        return
    learned, asked = (t[~np.isnan(t)] for t in (times(split.dataset, rows) for rows in (split.train.rows, test.rows)))
    if not len(learned) or not len(asked):
        return
    overlap = share(learned > asked.min())
    of_the = "training events are later than the earliest test target"
    yield finding("split.overlap", "Training overlaps test in time", overlap, of_the)
    later = 1 - np.searchsorted(np.sort(learned), asked, "right") / len(learned)  # [n], share of training events
    temporal = _is_temporal(split)
    advice = "removing unknown items moved their targets back" if temporal else "temporal_sessions has less of this"
    of_the = f"test targets are earlier than some training event (on average than {percent(float(later.mean()))})"
    limit = 0.01 if temporal else np.inf
    yield finding("split.future", "Training knows the future", share(later > 0), of_the, warning=limit, advice=advice)
