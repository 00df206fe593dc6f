"""From what a reader found to a checked ``Dataset``: times in seconds, clean texts, items that occur, provenance."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from seqlore.data.dataset import Dataset, whole_ids
from seqlore.data.times import BadTime, to_seconds
from seqlore.errors import DataError

#: Text columns in which HTML entities are unescaped; so are all lists of strings.
TEXTS = ("title", "brand", "description", "review", "summary")
_ODD = r"&#?[A-Za-z0-9]+;|^\s|\s$|\x00"


@dataclass
class Raw:
    """What a reader found.

    Attributes:
        path: the interactions file, for messages.
        interactions, items, users: frames with Seqlore's column names.
        files: all files read, for the record.
        notes: what was done to the data and what was missing; written to ``dataset.json``.
        where: row of ``interactions`` (from 0) → how a person finds it in ``path``; called for an error only.
        names: Seqlore's column → what the file calls it, where that differs; for messages, too.
    """

    path: Path
    interactions: pl.DataFrame
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    where: Callable[[int], str] = lambda row: f"row {row + 1}"
    names: Mapping[str, str] = field(default_factory=dict)


def finish(raw: Raw, *, name: str, format: str, all_items: bool) -> Dataset:
    """The dataset that ``raw`` describes.

    Args:
        all_items: keep items that nobody interacted with (they are recommended, and ranked, like any other).

    Raises: DataError: no rows, a column is missing or does not fit, an id is empty; names the file and the line.
    """
    _check(raw)
    events, notes = raw.interactions, list(raw.notes)
    if "rating" in events.columns and (events.schema["rating"].is_numeric() or events.schema["rating"] == pl.String()):
        events = events.with_columns(pl.col("rating").cast(pl.Float64).fill_nan(None))
    if "timestamp" in events.columns:
        events, said = timed(events, raw.path, raw.where, raw.names.get("timestamp", "timestamp"))
        notes += said
    events, items = clean(events), raw.items
    if items is not None:
        items = clean(items)
        if "item_id" in items.columns and not items["item_id"].null_count():
            items = items.with_columns(whole_ids(items["item_id"]).cast(pl.String))
            once = items.unique("item_id", keep="first", maintain_order=True)
            if len(once) < len(items):
                notes.append(f"items: {len(items) - len(once):,} repeated rows dropped (the first of an id is kept)")
            seen = events.select(whole_ids(events["item_id"]).cast(pl.String)).unique()
            if unknown := seen.join(once, on="item_id", how="anti").height:
                notes.append(
                    f"items: {unknown:,} of {len(seen):,} items with interactions have no row in the items table"
                )
            items = once if all_items else once.join(seen, on="item_id", how="semi", maintain_order="left")
            if items.is_empty():
                notes.append("items: none of the described items occurs in the interactions")
                items = None
    meta = {"source": {"format": format, "files": [f.name for f in raw.files or [raw.path]]}}
    try:
        return Dataset.from_frames(events, items, raw.users, name=name, meta={**meta, "notes": notes})
    except DataError as error:
        raise DataError(f"{raw.path}: {error}") from error


def _check(raw: Raw) -> None:
    """The faults of single rows, with their line; faults of whole columns are ``conform``'s."""
    events = raw.interactions
    for column in ("user_id", "item_id"):
        if column not in events.columns:
            continue  # conform() names it
        ids = events[column]
        missing = ids.is_null() | (ids == "").fill_null(True) if ids.dtype == pl.String() else ids.is_null()
        if missing.any():
            row = int(missing.arg_max() or 0)
            name = raw.names.get(column, column)
            raise DataError(f"{raw.path}, {raw.where(row)}: {name} is empty; fill it in or remove the row")
    if "rating" in events.columns and events.schema["rating"] == pl.String():
        number = events["rating"].cast(pl.Float64, strict=False)
        if number.null_count() > events["rating"].null_count():
            row = int((number.is_null() & events["rating"].is_not_null()).arg_max() or 0)
            name = raw.names.get("rating", "rating")
            raise DataError(
                f"{raw.path}, {raw.where(row)}: {name} {events['rating'][row]!r} is not a number; "
                "mend it, or map another column to rating"
            )


def timed(events: pl.DataFrame, path: Path, where: Callable[[int], str], name: str) -> tuple[pl.DataFrame, list[str]]:
    """``events`` with times in seconds, those of one second in their exact order; and notes. ``name``: of the column.

    Raises: DataError: a time cannot be read; names the line.
    """
    try:
        return to_seconds(events["timestamp"]).into(events)
    except BadTime as error:
        raise DataError(f"{path}, {where(error.row)}: {name}{str(error).removeprefix('timestamp')}") from error


def clean(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts stripped, HTML entities unescaped, empty ones null; lists of strings without empty members."""
    for name, dtype in frame.schema.items():
        if dtype == pl.String() and name in TEXTS:
            frame = frame.with_columns(_clean(frame[name]))
        elif dtype == pl.List(pl.String()):
            flat = frame.select(pl.col(name)).with_row_index("row").explode(name)
            flat = flat.with_columns(_clean(flat[name])).drop_nulls(name)
            lists = flat.group_by("row", maintain_order=True).agg(name)
            rows = frame.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"))
            frame = frame.with_columns(rows.join(lists, on="row", how="left", maintain_order="left")[name])
    return frame


def _clean(column: pl.Series) -> pl.Series:
    odd = column.str.contains(_ODD).fill_null(False)
    if odd.any():  # few texts need mending, so Python looks at those alone
        mended = [html.unescape(text).replace("\0", "").strip() for text in column.filter(odd)]
        column = column.scatter(odd.arg_true(), pl.Series(mended, dtype=pl.String()))
    return column.replace("", None)
