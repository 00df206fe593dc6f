"""Where a model is good: results by popularity of the target, by length of the history, and for unseen items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.errors import ConfigError
from seqlore.evaluation.report import Report

By = Literal["popularity", "history", "known"]


def buckets(
    report: Report, by: By = "popularity", *, metrics: Sequence[str] = ("hr@10", "ndcg@10"), bins: int = 5
) -> pl.DataFrame:
    """The mean of each metric over the cases of each bucket, with its standard error.

    Args:
        by: ``"popularity"``: interactions of the target in training; targets without any are a bucket of their own
            ("cold"), the others are cut at quantiles of the cases. ``"history"``: length of the history, cut alike.
            ``"known"``: whether the target occurs in training at all.
        metrics: any that have a value per case.
        bins: quantile buckets; fewer where many cases share a value, for a value is never divided.

    Returns: one row a bucket, in rising order: ``bucket`` (label), ``low``, ``high`` (inclusive; null for "known"),
        ``cases``, ``share``, and for each metric its mean and ``…_se`` (null for a single case).
    """
    if bins < 1:
        raise ConfigError(f"bins={bins}: cut into at least one bucket")
    counts = report.per_case["target_count"].to_numpy()
    if by == "known":
        number = (counts > 0).astype(int)
        labels, edges = ["never in training", "in training"], None
    elif by == "popularity":
        number, edges = _quantiles(counts, bins, own_zero=True)
        labels = ["cold" if high == 0 else _span(low, high) for low, high in edges]
    elif by == "history":
        number, edges = _quantiles(report.per_case["history_length"].to_numpy(), bins, own_zero=False)
        labels = [_span(low, high) for low, high in edges]
    else:
        raise ConfigError(f"by={by!r}: choose 'popularity', 'history' or 'known'")
    frame = pl.DataFrame({"number": number, **{m: report.case_metric(m) for m in metrics}})
    grouped = frame.group_by("number").agg(
        pl.len().alias("cases"),
        (pl.len() / len(report)).alias("share"),
        *(pl.col(m).mean() for m in metrics),
        *((pl.col(m).std() / pl.len().sqrt()).alias(f"{m}_se") for m in metrics),
    )
    ordered = ["cases", "share", *(c for m in metrics for c in (m, f"{m}_se"))]
    at = grouped.sort("number")["number"].to_list()
    return grouped.sort("number").select(
        pl.Series("bucket", [labels[i] for i in at], dtype=pl.String),
        pl.Series("low", [None if edges is None else edges[i][0] for i in at], dtype=pl.Int64),
        pl.Series("high", [None if edges is None else edges[i][1] for i in at], dtype=pl.Int64),
        *ordered,
    )


def _quantiles(
    values: NDArray[np.integer], bins: int, *, own_zero: bool
) -> tuple[NDArray[np.integer], list[tuple[int, int]]]:
    """(bucket of each case [n], inclusive bounds of each bucket as they occur)."""
    positive = values[values > 0] if own_zero else values
    tops = (
        np.unique(np.quantile(positive, np.arange(1, bins + 1) / bins, method="inverted_cdf")) if len(positive) else []
    )
    tops = np.r_[0, tops] if own_zero else np.asarray(tops)
    number = np.searchsorted(tops, values)
    present = np.unique(number)
    number = np.searchsorted(present, number)
    return number, [(int(values[number == i].min()), int(values[number == i].max())) for i in range(len(present))]


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
