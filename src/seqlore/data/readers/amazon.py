"""Amazon reviews and product metadata, in the editions of 2014, 2018 and 2023.

Sources: He & McAuley, WWW 2016 (10.1145/2872427.2883037) for 2014; Ni, Li & McAuley, EMNLP 2019 (10.18653/v1/D19-1018)
for 2018; Hou et al., 2024 (arXiv:2403.03952) for 2023. The metadata of 2014 are Python dict literals, all else is JSON.

Left out on purpose: ``related``, ``also_buy``, ``salesRank``, ``average_rating``, ``rating_number`` and their like are
made from what people did, held-out events included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from seqlore.data.readers._files import collect, first_record, read_fields, record_line, records, text, texts
from seqlore.data.readers._frames import Raw
from seqlore.errors import DataError

_REVIEWS = {
    "reviewerID": ("user_id", pl.String()),
    "asin": ("item_id", pl.String()),
    "overall": ("rating", pl.Float64()),
    "unixReviewTime": ("timestamp", pl.Int64()),
    "reviewText": ("review", pl.String()),
    "summary": ("summary", pl.String()),
}
_REVIEWS_2023 = {
    "user_id": ("user_id", pl.String()),
    "parent_asin": ("item_id", pl.String()),
    "rating": ("rating", pl.Float64()),
    "timestamp": ("timestamp", pl.Int64()),
    "text": ("review", pl.String()),
    "title": ("summary", pl.String()),
}
_ITEM_SCHEMA = {
    "item_id": pl.String(),
    "title": pl.String(),
    "brand": pl.String(),
    "categories": pl.List(pl.String()),
    "description": pl.String(),
    "features": pl.List(pl.String()),
    "price": pl.String(),
}
_ASIN = re.compile(r"""['"](?:parent_)?asin['"]\s*:\s*['"]([^'"]*)['"]""")
_SUFFIXES = (".json.gz", ".jsonl.gz", ".json", ".jsonl")


def read_amazon(path: Path, *, items: str | Path | None = None, all_items: bool = False) -> Raw:
    """Reviews, and the metadata from ``items`` or from ``meta_…`` beside the reviews.

    Args:
        path: ``reviews_Beauty_5.json.gz`` (2014), ``Beauty_5.json.gz`` (2018), ``All_Beauty.jsonl.gz`` (2023), or a
            folder with one of them.
        all_items: keep the metadata of items without a review in ``path`` (a category has ten times as many).
    """
    path = _reviews_in(path) if path.is_dir() else path
    first = first_record(path)
    fields = _REVIEWS_2023 if "parent_asin" in first else _REVIEWS
    if missing := [f for f in list(fields)[:2] if f not in first]:
        raise DataError(
            f"{path}, line 1: an Amazon review has {missing[0]!r}, and this record has only {', '.join(first)}; "
            "for other JSON lines use --format jsonl with --column"
        )
    events = read_fields(path, {theirs: dtype for theirs, (_, dtype) in fields.items()})
    events = events.rename({theirs: ours for theirs, (ours, _) in fields.items()})
    if fields is _REVIEWS_2023:  # the only edition that keeps the line breaks of the web page
        events = events.with_columns(pl.col("review").str.replace_all(r"(?i)<br\s*/?>", "\n"))
    raw = Raw(path, events, files=[path], where=partial(record_line, path))
    meta = Path(items) if items is not None else _metadata_of(path)
    if meta is None:
        raw.notes.append("items: no metadata file beside the reviews, so the items have no texts")
        return raw
    wanted = None if all_items else set(events["item_id"].unique())
    raw.items = collect(_items(meta, wanted), _ITEM_SCHEMA)
    raw.files.append(meta)
    return raw


def _reviews_in(folder: Path) -> Path:
    files = [f for s in _SUFFIXES for f in sorted(folder.glob(f"*{s}")) if not f.name.startswith("meta_")]
    if len(files) != 1:
        names = ", ".join(f.name for f in files) or "none"
        raise DataError(f"{folder}: one file of reviews is needed, and there are {len(files)} ({names}); name the file")
    return files[0]


def _metadata_of(path: Path) -> Path | None:
    name = path.name.split(".")[0].removeprefix("reviews_").removesuffix("_5")
    beside = (path.with_name(f"meta_{name}{suffix}") for suffix in _SUFFIXES)
    return next((f for f in beside if f.is_file()), None)


def _items(path: Path, wanted: set[str] | None) -> Iterator[tuple[Any, ...]]:
    # A category describes ten times as many items as its 5-core has, and parsing a Python literal takes 30 µs.
    for number, record in records(path, None if wanted is None else partial(_may_be_about, wanted)):
        item_id = record.get("parent_asin") or record.get("asin")
        if not isinstance(item_id, str):
            raise DataError(f"{path}, line {number}: no asin or parent_asin; this is no line of Amazon metadata")
        if wanted is None or item_id in wanted:
            yield (
                item_id,
                text(record.get("title")),
                text(record.get("brand") or record.get("store")),
                _paths(record.get("categories") or record.get("category")),
                text(record.get("description")),
                texts(record.get("features") or record.get("feature")),
                text(record.get("price")),
            )


def _may_be_about(wanted: set[str], line: str) -> bool:
    named = _ASIN.findall(line)
    return not named or not wanted.isdisjoint(named)


def _paths(value: object) -> list[str] | None:
    """One ``"Beauty > Makeup > Nails"`` a path. 2014 lists several paths, later editions the steps of one."""
    if not isinstance(value, list) or not value:
        return None
    paths = value if isinstance(value[0], list) else [value]
    return [" > ".join(str(step) for step in path) for path in paths if path]
