"""The audit: what in a dataset, or in a split of it, would flatter or spoil an evaluation.

Each check is a count over all events; nothing is sampled. Where a direction is claimed, chance is ruled out first: a
share of ascending pairs must lie four standard deviations (normal approximation of the binomial) from one half, a rank
correlation (C. Spearman, 1904) must have p ≤ 0.001.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import spearmanr

from seqlore.data.dataset import Dataset
from seqlore.data.findings import AuditReport, Finding, Severity, finding, gravest, percent
from seqlore.data.leakage import as_floats, cases_where, share, split_findings, times
from seqlore.data.sequences import Sequences
from seqlore.data.splits import Split, last_as_target, ordered_sequences
from seqlore.errors import DataError

__all__ = ["AuditReport", "Finding", "audit"]

Floats = NDArray[np.float64]
_SHUFFLE = 'report ties="shuffled" beside ties="file"'


def audit(dataset: Dataset, split: Split | None = None) -> AuditReport:
    """Look for what gives answers away: in the data, and in ``split`` where one is given.

    Raises: DataError: the split was made from another dataset.
    """
    if split is not None and split.dataset is not dataset and split.dataset.hash != dataset.hash:
        raise DataError(f"the split was made from {split.dataset!r}, not from {dataset!r}: audit it with its own data")
    events = _Events.of(dataset)
    findings = [*_ids(events), *_ties(events), *_order(dataset, events), *_repeats(dataset, events, split)]
    findings += [*_texts(dataset), *(split_findings(split) if split is not None else ())]
    return AuditReport(dataset.name, None if split is None else split.describe(), findings)


@dataclass(frozen=True, eq=False)
class _Events:
    """All events in the order that splits with ``ties="file"`` use.

    Attributes:
        sequences: one a user. user: int [m]. row: int [m], in the interactions. time: [m], NaN where unknown.
        id_rank: [catalog.size], natural place of an item's id.
        keys: what ties may be sorted by: name → [m], NaN where unknown.
    """

    sequences: Sequences
    user: NDArray[np.int64]
    row: NDArray[np.int64]
    time: Floats
    id_rank: Floats
    keys: dict[str, Floats]

    @staticmethod
    def of(dataset: Dataset) -> _Events:
        # Splits refuse times that are known in part; here they are findings, and the order is that without them.
        some = [c for c in ("position", "timestamp") if c in dataset.interactions.columns]
        some = [c for c in some if dataset.interactions[c].null_count()]
        catalog, _, sequences = ordered_sequences(replace(dataset, interactions=dataset.interactions.drop(some)))
        items, rows = sequences.items, sequences.rows
        assert rows is not None
        id_rank = _natural_rank(catalog.ids)
        keys = {"item id": id_rank[items], "popularity": sequences.counts(catalog.size)[items].astype(float)}
        if "title" in catalog.items.columns:
            keys["title"] = _rank(catalog.items["title"])[items]
        if "rating" in dataset.interactions.columns:
            keys["rating"] = as_floats(dataset.interactions["rating"])[rows]
        return _Events(sequences, sequences.row_ids, rows, times(dataset, rows), id_rank, keys)


def _rank(texts: pl.Series) -> Floats:
    """Alphabetical place, [n + 1], NaN for padding and null; equal texts share a place."""
    return np.concatenate([[np.nan], as_floats(texts.rank("dense"))])


def _natural_rank(ids: list[str]) -> Floats:
    """Place of each id, [n + 1], NaN for padding; "i2" before "i10" where ids differ in a final number only."""
    column = pl.Series(ids, dtype=pl.String())
    number = column.str.extract(r"(\d+)$").cast(pl.Int64(), strict=False)
    if number.null_count() or column.str.replace(r"\d+$", "").n_unique() > 1:
        return _rank(column)
    return np.concatenate([[np.nan], as_floats(number.rank("dense"))])


def _ids(events: _Events) -> Iterator[Finding]:
    """Do ids follow the order in which items appeared, in time or in the file?"""
    for check, when, what in (("ids.time", events.time, "time"), ("ids.file", events.row.astype(float), "the file")):
        first = np.full(len(events.id_rank), np.inf)
        np.fmin.at(first, events.sequences.items, when)  # fmin passes over NaN
        there = np.isfinite(first)
        if len(np.unique(first[there])) < 8:
            continue  # even a perfect order of seven items is no rarer than p = 0.0004
        result = spearmanr(events.id_rank[there], first[there])
        rho, p = float(result.statistic), float(result.pvalue)  # type: ignore[attr-defined]
        severity: Severity = "ok" if p > 1e-3 or abs(rho) < 0.1 else "warning" if abs(rho) >= 0.5 else "note"
        advice = "" if severity == "ok" else "; keep ids and their order from models (Seqlore's index is a hash)"
        detail = f"Item ids have a rank correlation of {rho:+.2f} with their first appearance in {what}{advice}."
        yield Finding(check, severity, f"Ids follow {what}", detail, rho)


def _ties(events: _Events) -> Iterator[Finding]:
    """Events of a user at one time: their order is the file's, and a model can learn how the file was sorted."""
    if np.isnan(events.time).all():
        return
    tied = (events.user[1:] == events.user[:-1]) & (events.time[1:] == events.time[:-1])  # [m − 1]
    member = np.r_[tied, False] | np.r_[False, tied]
    of_the = "events share their time with a neighbour of the same user"
    yield finding("ties.share", "Ties in time", share(member), of_the, warning=0.05, advice=_SHUFFLE)
    at = np.flatnonzero(tied)
    for key, value in events.keys.items():
        severity, ascending, pairs = _direction(value[at], value[at + 1])
        if pairs:
            advice = f"; a model can learn this: {_SHUFFLE}" if severity in ("warning", "danger") else ""
            detail = f"{percent(ascending)} of {pairs:,} same-time neighbours ascend by {key} (chance: 50 %){advice}."
            yield Finding(f"ties.{key.replace(' ', '_')}", severity, f"Ties sorted by {key}", detail, ascending)
    last = events.sequences.offsets[1:][events.sequences.lengths >= 2] - 1
    hit = last[tied[last - 1]] if len(last) else last
    id_ = events.keys["item id"]
    severity, larger, pairs = _direction(id_[hit - 1], id_[hit])
    of_the = "leave-one-out targets share their time with the event before"
    if pairs:
        of_the += f"; {percent(larger)} of these have the larger item id"
    found = finding("ties.targets", "Targets tied with history", len(hit) / max(len(last), 1), of_the, warning=0.05)
    reached = severity if len(hit) >= 0.01 * len(last) else "ok"  # an order counts where it reaches the targets
    yield replace(found, severity=gravest([found.severity, reached]))


def _direction(before: Floats, after: Floats) -> tuple[Severity, float, int]:
    """(severity, share ascending, pairs that are known and differ)."""
    up, down = int((after > before).sum()), int((after < before).sum())
    pairs = up + down
    if not pairs:
        return "ok", 0.5, 0
    ascending = up / pairs
    bias = abs(2 * ascending - 1)
    if bias * pairs**0.5 < 4:  # one standard deviation of the bias of a fair coin is 1 / √pairs
        return "ok", ascending, pairs
    return ("danger" if bias >= 0.5 else "warning" if bias >= 0.1 else "note"), ascending, pairs


def _order(dataset: Dataset, events: _Events) -> Iterator[Finding]:
    """Are there times, and does an order that was published contradict them?"""
    missing, columns = np.isnan(events.time), dataset.interactions.columns
    advice, danger = "temporal splits need them all", np.inf
    if not missing.all() and ("position" not in columns or dataset.interactions["position"].null_count()):
        advice, danger = "no split knows where they belong: fill them in, remove them, or drop the column", 1e-9
    yield finding(
        "time.missing",
        "Events without time",
        share(missing),
        "events have no timestamp",
        warning=0.01,
        danger=danger,
        advice=advice,
    )
    if missing.all():
        return

    def backwards(order: NDArray[np.int64]) -> float:
        user, time = events.user[order], events.time[order]
        known = (user[1:] == user[:-1]) & ~np.isnan(time[1:] + time[:-1])
        return share((time[1:] < time[:-1])[known])

    if "position" in columns:
        of_the = "steps that `position` takes from one event of a user to the next lead back in time"
        went_back = backwards(np.arange(len(events.time)))
        advice = "mend `position`, or drop it so that time decides"
        yield finding("order.position", "`position` against time", went_back, of_the, warning=0.001, advice=advice)
    of_the = "steps from one event of a user to the next in the file lead back in time"
    advice = "Seqlore sorts them, other tools may not"
    went_back = backwards(np.lexsort((events.row, events.user)))
    yield finding("order.file", "File order against time", went_back, of_the, advice=advice)


def _repeats(dataset: Dataset, events: _Events, split: Split | None) -> Iterator[Finding]:
    """Targets that their history holds already, and events that occur twice."""
    name, cases = "test", split.test if split is not None else None
    if cases is None:
        name, cases = "leave-one-out", last_as_target(events.sequences.take(events.sequences.lengths >= 2))
    again = cases_where(cases, cases.histories.items == cases.targets[cases.histories.row_ids])
    of_the = f"{name} targets occur in their own history"
    advice = "where seen items are masked, they are misses for every model"
    yield finding("repeats.targets", "Repeated targets", again, of_the, warning=0.05, advice=advice)
    columns = ["user_id", "item_id"]
    frame = dataset.interactions
    twice = 1 - frame.select(columns).unique().height / len(frame)
    of_the = "events repeat the user and item of another"
    advice = "keep the first or last of each on import, unless repeats are what you study"
    yield finding("repeats.pairs", "Duplicate pairs", twice, of_the, warning=0.05, advice=advice)
    if "timestamp" in frame.columns:
        timed = frame.select(*columns, "timestamp").drop_nulls()
        twice = 1 - timed.unique().height / len(timed) if len(timed) else 0.0
        of_the = "events repeat the user, item and time of another"
        yield finding("repeats.events", "Events recorded twice", twice, of_the, warning=1e-9)


def _texts(dataset: Dataset) -> Iterator[Finding]:
    """Items of which a language model learns nothing, and items that it cannot tell apart."""
    for name, column in ((c.name, c) for c in dataset.items.get_columns()):
        if name == "item_id" or not isinstance(column.dtype, (pl.String, pl.List)):
            continue
        length = column.str.strip_chars().str.len_bytes() if column.dtype == pl.String() else column.list.len()
        empty = share((length.fill_null(0) == 0).to_numpy())
        limit = 0.05 if name == "title" else np.inf
        yield finding(f"text.{name}", f"Items without {name}", empty, f"items have no {name}", warning=limit)
    if "title" in dataset.items.columns:
        titles = dataset.items["title"].str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
        same = share(titles.filter(titles != "").is_duplicated().to_numpy())
        advice = "text cannot tell them apart"
        of_the = "titles belong to several items"
        yield finding("text.same_title", "Identical titles", same, of_the, warning=0.05, advice=advice)
    else:
        yield Finding("text.title", "warning", "Items without title", "The items have no titles at all.", 1.0)
