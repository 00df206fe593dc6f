"""Yelp's academic dataset: ``yelp_academic_dataset_review.json`` and ``…_business.json``.

Source: https://www.yelp.com/dataset (a form must be accepted there). A business's own ``stars`` and ``review_count``
are left out: they sum up all reviews, held-out ones included.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import polars as pl

from seqlore.data.readers._files import first_record, read_fields, record_line
from seqlore.data.readers._frames import Raw
from seqlore.errors import DataError

_REVIEW = {
    "user_id": pl.String(),
    "business_id": pl.String(),
    "stars": pl.Float64(),
    "date": pl.String(),
    "text": pl.String(),
}
_NAMES = {"item_id": "business_id", "rating": "stars", "timestamp": "date", "review": "text"}
_BUSINESS = {
    "business_id": pl.String(),
    "name": pl.String(),
    "categories": pl.String(),
    "address": pl.String(),
    "city": pl.String(),
    "state": pl.String(),
}


def read_yelp(path: Path, *, items: str | Path | None = None) -> Raw:
    """Reviews, and the businesses from ``items`` or from the file of that name beside them."""
    if path.is_dir():
        path = next((f for f in sorted(path.glob("*review.json*"))), path / "yelp_academic_dataset_review.json")
    first = first_record(path)
    if missing := [f for f in ("user_id", "business_id") if f not in first]:
        raise DataError(
            f"{path}, line 1: a Yelp review has {missing[0]!r}, and this record has only {', '.join(first)}"
        )
    events = read_fields(path, _REVIEW).rename({theirs: ours for ours, theirs in _NAMES.items()})
    raw = Raw(path, events, files=[path], where=partial(record_line, path), names=_NAMES)
    beside = path.with_name(path.name.replace("review", "business"))
    business = Path(items) if items is not None else beside
    if items is None and not beside.is_file():
        raw.notes.append(f"items: no {beside.name} beside the reviews, so the items have no texts")
        return raw
    frame = read_fields(business, _BUSINESS).rename({"business_id": "item_id", "name": "title"})
    raw.items = frame.with_columns(pl.col("categories").str.split(", "))
    raw.files.append(business)
    return raw
