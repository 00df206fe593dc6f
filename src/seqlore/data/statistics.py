"""What a dataset looks like in numbers, and as tables for a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from seqlore.data.dataset import Dataset

_QUANTILES = {"min": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p99": 0.99, "max": 1.0}
#: Up to so many different ratings are counted one by one, more of them in ten bins.
_RATING_VALUES = 20
_DAY = 86_400


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Counts, lengths, times, ratings and texts; only plain values, ready for JSON. Unknown parts are None.

    * ``items`` counts the catalogue, ``items_seen`` those with an interaction; ``density`` = distinct pairs / (users ·
      items seen); ``repeated_share`` = interactions beyond the first of their pair / all.
    * ``time.tied_share``: interactions that share user and time with another one / all. On such events the order is
      the file's, and says more than a shop can know; ``time.whole_days``: every time is a midnight (UTC).
    * ``text``: share of items (``items``) and interactions (``interactions``) in which the field is not empty.
    """
    events = dataset.interactions
    n, users, seen = len(events), events["user_id"].n_unique(), events["item_id"].n_unique()
    pairs = events.select(pl.struct("user_id", "item_id").n_unique()).item()
    return {
        "name": dataset.name,
        "hash": dataset.hash,
        "users": users,
        "items": len(dataset.items),
        "items_seen": seen,
        "interactions": n,
        "density": pairs / (users * seen),
        "repeated_share": 1 - pairs / n,
        "per_user": _lengths(events, "user_id"),
        "per_item": _lengths(events, "item_id"),
        "time": _times(events),
        "rating": _ratings(events),
        "text": {
            "items": _coverage(dataset.items),
            "interactions": _coverage(events.select(c for c in ("review", "summary") if c in events.columns)),
        },
        "filters": dataset.meta.get("filters", []),
        "notes": dataset.meta.get("notes", []),
    }


def _lengths(events: pl.DataFrame, key: str) -> dict[str, float]:
    counts = events.group_by(key).len()["len"]
    quantiles = {name: float(counts.quantile(q, "lower") or 0) for name, q in _QUANTILES.items()}
    return {"mean": float(counts.mean() or 0), **quantiles}  # type: ignore[arg-type]


def _times(events: pl.DataFrame) -> dict[str, Any] | None:
    if "timestamp" not in events.columns or not events["timestamp"].count():
        return None
    time = events["timestamp"]
    known = events.filter(time.is_not_null())
    first, last = int(time.min()), int(time.max())  # type: ignore[arg-type]
    return {
        "known_share": len(known) / len(events),
        "first": _date(first),
        "last": _date(last),
        "span_days": (last - first) / _DAY,
        "tied_share": int(known.select(pl.struct("user_id", "timestamp").is_duplicated().sum()).item()) / len(events),
        "whole_days": bool((known["timestamp"] % _DAY == 0).all()),
    }


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # beyond the year 9999: a number that is no time
        return str(seconds)


def _ratings(events: pl.DataFrame) -> dict[str, Any] | None:
    if "rating" not in events.columns or not (rating := events["rating"].drop_nulls()).len():
        return None
    counts = rating.value_counts().sort("rating")
    if len(counts) <= _RATING_VALUES:
        histogram = {f"{value:g}": count for value, count in counts.iter_rows()}
    else:
        bins = rating.cast(pl.Float64).hist(bin_count=10)
        histogram = dict(zip(bins["category"].cast(pl.String), bins["count"], strict=True))
    return {"known_share": len(rating) / len(events), "mean": float(rating.mean()), "histogram": histogram}  # type: ignore[arg-type]


def _coverage(frame: pl.DataFrame) -> dict[str, float]:
    """Share of rows in which each column of texts (or of lists of them) holds anything."""
    shares = {}
    for column in frame:
        if column.dtype == pl.String() and column.name != "item_id":
            shares[column.name] = (column.str.strip_chars() != "").sum() / len(frame)
        elif isinstance(column.dtype, pl.List):
            shares[column.name] = (column.list.len() > 0).sum() / len(frame)
    return shares


def render(numbers: dict[str, Any], console: Console) -> None:
    """Print what :func:`statistics` found."""
    console.print(
        f"[bold]{numbers['name']}[/] ({numbers['hash']}): {numbers['users']:,} users, {numbers['items']:,} items "
        f"({numbers['items_seen']:,} with interactions), {numbers['interactions']:,} interactions",
        highlight=False,
    )
    console.print(
        f"density {numbers['density']:.4%}, repeated pairs {numbers['repeated_share']:.2%} of the interactions",
        highlight=False,
    )
    lengths = Table("interactions a …", *("mean", *_QUANTILES), box=None, header_style="bold")
    for name in ("user", "item"):
        row = numbers[f"per_{name}"]
        lengths.add_row(name, f"{row['mean']:.1f}", *(f"{row[q]:,.0f}" for q in _QUANTILES))
    console.print(lengths)
    time, rating = numbers["time"], numbers["rating"]
    if time is None:
        console.print("time: unknown; the order is the file's")
    else:
        console.print(
            f"time: {time['first'][:10]} to {time['last'][:10]}, known for {time['known_share']:.1%}; "
            f"{time['tied_share']:.1%} share user and time with another one"
            + (" (whole days)" if time["whole_days"] else ""),
            highlight=False,
        )
    if rating is not None:
        counts = ", ".join(f"{value}: {count:,}" for value, count in rating["histogram"].items())
        console.print(
            f"rating: mean {rating['mean']:.2f}, known for {rating['known_share']:.1%}; {counts}", highlight=False
        )
    for where, shares in numbers["text"].items():
        filled = ", ".join(f"{name} {share:.1%}" for name, share in shares.items() if share)
        console.print(f"text of {where}: {filled or 'none'}", highlight=False)
    for kind in ("filters", "notes"):
        for line in numbers[kind]:
            console.print(f"{kind[:-1]}: {line}", highlight=False, markup=False)
