"""From what a reader found to a checked ``Dataset``: times in seconds, clean texts, items that occur, provenance."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import polars as pl

from seqlore.data.dataset import Dataset, in_exact_order, whole_ids
from seqlore.errors import DataError

#: Text columns in which HTML entities are unescaped; so are all lists of strings.
TEXTS = ("title", "brand", "description", "review", "summary")
_ODD = r"&#?[A-Za-z0-9]+;|^\s|\s$|\x00"
#: From this size on (a time in the year 5138 as seconds, in 1973 as milliseconds) a number counts smaller units.
_UNITS = ((1e17, "nanoseconds", 10**9), (1e14, "microseconds", 10**6), (1e11, "milliseconds", 10**3))
_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


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
        try:
            times = to_seconds(events["timestamp"])
        except BadTime as error:
            message = raw.names.get("timestamp", "timestamp") + str(error).removeprefix("timestamp")
            raise DataError(f"{raw.path}, {raw.where(error.row)}: {message}") from error
        events = events.with_columns(times.seconds.alias("timestamp"))
        notes += [times.note] if times.note else []
        if times.exact is not None and "user_id" in events.columns:
            ordered = in_exact_order(events, times.exact)
            if not ordered.equals(events):
                notes.append("interactions: events of a user in one second stand in the order of their exact times")
            events = ordered
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


class BadTime(DataError):
    """A time that cannot be read, at ``row`` of the column."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


class Times(NamedTuple):
    """A column of times, read.

    Attributes:
        seconds: int64, since 1970 (UTC), rounded down.
        note: what was done; "" for nothing.
        exact: what orders those of one second; None where nothing is finer than seconds.
    """

    seconds: pl.Series
    note: str = ""
    exact: pl.Series | None = None


def to_seconds(column: pl.Series) -> Times:
    """Numbers are seconds, or smaller units where too large for seconds; strings are numbers or ISO 8601, taken
    as UTC where they name no zone; empty and NaN are null.

    Raises: BadTime: a value is neither, or the column mixes units.
    """
    if column.dtype == pl.Date() or isinstance(column.dtype, pl.Datetime):
        return Times(column.dt.epoch("s"), exact=_finer(column.dt.epoch("ns"), 10**9))
    if column.dtype == pl.String():
        text = column.str.strip_chars().replace("", None)
        number = text.cast(pl.Float64, strict=False)
        if number.count() < text.count():
            micro = _from_iso(text, number)
            note = "timestamp: dates in ISO 8601 read as seconds (UTC where no zone is given)"
            return Times(micro // 10**6, note, _finer(micro, 10**6))
        # A cast through float would blur nanoseconds; integers are read as such where all are.
        exact = text.cast(pl.Int64, strict=False)
        column = exact if exact.count() == number.count() else number
    if not column.dtype.is_numeric():
        return Times(column)  # conform() says what is wrong with it
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if (bad := column.is_infinite().fill_null(False)).any():
            raise BadTime(int(bad.arg_max() or 0), "timestamp is infinite; give seconds since 1970")
    size = column.cast(pl.Float64).abs()
    largest = float(size.max() or 0)  # type: ignore[arg-type]
    for limit, unit, factor in _UNITS:
        if largest > limit:
            mixed = (size > 0) & (size < limit)
            if mixed.any():
                row = int(mixed.arg_max() or 0)
                raise BadTime(row, f"timestamp {column[row]} is in other units than the rest ({unit}); use one unit")
            note = f"timestamp: {unit} divided by {factor:,} to give seconds"
            return Times((column // factor).cast(pl.Int64), note, _finer(column, factor))
    if column.dtype.is_float():
        return Times(column.floor().cast(pl.Int64), exact=_finer(column, 1))
    return Times(column.cast(pl.Int64))


def _finer(column: pl.Series, second: int) -> pl.Series | None:
    """``column`` where it tells more than whole seconds of so many units."""
    return column if (column % second != 0).any() else None


def _from_iso(text: pl.Series, number: pl.Series) -> pl.Series:
    """int64, microseconds since 1970."""
    plain = text.str.replace(r"^(\d{4}-\d{2}-\d{2})[Tt]", "$1 ").str.replace(r"\s*(Z|z|UTC)$", "+00:00")
    frame = pl.DataFrame({"t": plain})
    tries = [
        pl.col("t")
        .str.to_datetime(f, strict=False, time_unit="us", time_zone="UTC" if "%z" in f else None)
        .dt.epoch("us")
        for f in _FORMATS
    ]
    time = frame.select(pl.coalesce(tries))["t"]
    bad = time.is_null() & text.is_not_null()
    if bad.any():
        neither = bad & number.is_null()  # where dates and numbers are mixed, name what is neither, if anything is
        row = int((neither if neither.any() else bad).arg_max() or 0)
        raise BadTime(row, f"timestamp {text[row]!r} is neither a number nor an ISO 8601 date (2014-07-23T10:05:00Z)")
    return time


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
