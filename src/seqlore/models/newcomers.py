"""Items that join a fitted catalogue, as a frame of them may come: checked before a model reads their texts."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from seqlore.data import Catalog
from seqlore.data.catalog import as_text
from seqlore.errors import DataError


def new_items(items: pl.DataFrame, catalog: Catalog, fields: Sequence[str]) -> pl.DataFrame:
    """``items`` in columns and types of the catalogue; columns that it lacks are dropped, those that they lack null.

    Args: fields: columns of which each item needs a text in one.

    Raises: DataError: there are none, or no ids; an id is null, there twice, or known already; an item has no text; or
        a value is not of the catalogue's type.
    """
    if "item_id" not in items.columns or items["item_id"].dtype.is_nested():
        have = ", ".join(items.columns) or "none"
        raise DataError(f"new items need a column 'item_id' of texts (columns there: {have}): put their ids in it")
    items = items.with_columns(pl.col("item_id").cast(pl.String))
    ids = items["item_id"]
    if items.is_empty():
        raise DataError("there are no new items in this frame: give one row an item")
    if ids.null_count():
        raise DataError(f"new items: row {ids.is_null().arg_true()[0] + 1} has no item_id; give it one")
    if (twice := ids.filter(ids.is_duplicated())).len():
        raise DataError(f"new item {twice[0]!r} is there twice: give one row an item")
    if known := [each for each in ids if each in catalog]:
        raise DataError(f"item {known[0]!r} is in the catalogue already; give new items ids of their own")
    types = catalog.items.schema
    given = items.with_columns(pl.lit(None).alias(name) for name in types if name not in items.columns)
    taken = pl.DataFrame([_as(dtype, given[name], ids) for name, dtype in types.items()])
    for row in taken.iter_rows(named=True):
        if not any(as_text(row.get(field)) for field in fields):
            id = row["item_id"]
            raise DataError(f"new item {id!r} has no text in {', '.join(map(repr, fields))}, which the model reads")
    return taken


def _as(dtype: pl.DataType, column: pl.Series, ids: pl.Series) -> pl.Series:
    """The column in the catalogue's type; null, where that knows of no value in it.

    Raises: DataError: a value would be lost, or would be another.
    """
    if dtype == pl.Null:
        return pl.Series(column.name, [None] * len(column), dtype=dtype)
    try:
        cast = _cast(dtype, column)
    except pl.exceptions.PolarsError:  # one by one, to name the one at fault
        alone = [_alone(dtype, value) for value in column.to_list()]
        cast = pl.Series(column.name, alone, dtype=dtype)
    for id, given, taken in zip(ids, column.to_list(), cast.to_list(), strict=True):
        if not _kept(given, taken):
            raise DataError(f"new item {id!r}: {column.name} {given!r} is no {dtype}, which the catalogue has there")
    return cast


def _cast(dtype: pl.DataType, column: pl.Series) -> pl.Series:
    if dtype in (pl.Date, pl.Datetime, pl.Time) and column.dtype == pl.String():
        return column.str.strptime(dtype, strict=False)  # type: ignore[arg-type]
    return column.cast(dtype, strict=False)


def _alone(dtype: pl.DataType, value: object) -> object:
    try:
        return _cast(dtype, pl.Series([value]))[0]
    except pl.exceptions.PolarsError:
        return None


def _kept(given: object, taken: object) -> bool:
    if isinstance(given, list):
        return isinstance(taken, list) and all(map(_kept, given, taken))
    cut = isinstance(given, float) and isinstance(taken, int) and given != taken
    return given is None or (taken is not None and not cut)
