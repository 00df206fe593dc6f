"""Items that join a fitted catalogue, as a frame of them may come: checked before a model reads their texts."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from seqlore.data import Catalog
from seqlore.data.catalog import as_text
from seqlore.errors import DataError


def new_items(items: pl.DataFrame, catalog: Catalog, fields: Sequence[str]) -> pl.DataFrame:
    """``items`` with their ids as strings.

    Args: fields: columns of which each item needs a text in one.

    Raises: DataError: there are none, or no ids; an id is null, there twice, or known already; an item has no text; or
        a column holds lists where that of the catalogue holds none, or the other way round.
    """
    if "item_id" not in items.columns or items["item_id"].dtype.is_nested():
        have = ", ".join(items.columns) or "none"
        raise DataError(f"new items need a column 'item_id' of texts (columns there: {have}): put their ids in it")
    items = items.with_columns(pl.col("item_id").cast(pl.String))
    ids, read = items["item_id"], [field for field in fields if field in items.columns]
    if items.is_empty():
        raise DataError("there are no new items in this frame: give one row an item")
    if ids.null_count():
        raise DataError(f"new items: row {ids.is_null().arg_true()[0] + 1} has no item_id; give it one")
    if (twice := ids.filter(ids.is_duplicated())).len():
        raise DataError(f"new item {twice[0]!r} is there twice: give one row an item")
    if known := [each for each in ids if each in catalog]:
        raise DataError(f"item {known[0]!r} is in the catalogue already; give new items ids of their own")
    for id, *values in items.select("item_id", *read).iter_rows():
        if not any(map(as_text, values)):
            raise DataError(f"new item {id!r} has no text in {', '.join(map(repr, fields))}, which the model reads")
    for name, dtype in items.schema.items():
        own = catalog.items.schema.get(name, dtype)
        if pl.Null not in (own, dtype) and own.is_nested() != dtype.is_nested():
            raise DataError(f"column {name!r} of the new items is {dtype}, and that of the catalogue {own}; make it so")
    return items
