"""From filters to the items that they let through."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.client.wire import Filters, Value
from seqlore.config import nearest
from seqlore.data import Catalog
from seqlore.serve.refused import Refused


def attributes(catalog: Catalog) -> list[str]:
    """Columns that items can be filtered by, id and title aside: texts, numbers, truths, times and lists of these."""
    return [c for c, dtype in catalog.items.schema.items() if c not in ("item_id", "title") and _comparable(dtype)]


def _comparable(dtype: pl.DataType) -> bool:
    entry = dtype.inner if isinstance(dtype, (pl.List, pl.Array)) else dtype
    return not entry.is_nested() and entry not in (pl.Binary, pl.Duration, pl.Object)


def allowed(catalog: Catalog, filters: Filters, field: str = "filters") -> NDArray[np.int32]:
    """Dense indices [c] that pass, ascending; ids that the catalogue lacks pass over.

    Raises: Refused: an attribute that the catalogue lacks, or a value that is no number where the attribute is one.
    """
    inside, known = np.ones(len(catalog), bool), attributes(catalog)
    for name, values in (filters.attributes or {}).items():
        where = f"{field}.attributes.{name}"
        if name not in known:
            raise Refused(f"items have no attribute {name!r} to filter by{nearest(name, known)}", where)
        inside &= catalog.items.select(_has(name, catalog.items.schema[name], values, where)).to_series().to_numpy()
    out = np.flatnonzero(inside).astype(np.int32) + 1
    if filters.items is not None:
        out = np.intersect1d(out, catalog.index(filters.items))
    if filters.exclude is not None:
        out = np.setdiff1d(out, catalog.index(filters.exclude))
    return out.astype(np.int32)


def _has(name: str, dtype: pl.DataType, values: list[Value], field: str) -> pl.Expr:
    """Whether the column, or an entry of a list, is one of ``values``; a path "a > b > c" also is "a > b" and "a"."""
    if isinstance(dtype, (pl.List, pl.Array)):
        inner = dtype.inner
        assert isinstance(inner, pl.DataType)
        entries = pl.col(name).arr.to_list() if isinstance(dtype, pl.Array) else pl.col(name)
        found = entries.list.eval(_is(pl.element(), inner, values, field)).list.any()
    else:
        found = _is(pl.col(name), dtype, values, field)
    return found.fill_null(False).alias("has")


def _is(column: pl.Expr, dtype: pl.DataType, values: list[Value], field: str) -> pl.Expr:
    if dtype.is_numeric():
        try:
            return column.cast(pl.Float64).is_in(pl.Series([[float(v) for v in values]], dtype=pl.List(pl.Float64)))
        except (ValueError, OverflowError) as error:
            raise Refused(f"this attribute is a number: {error}", field) from error
    texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in values]  # as polars writes them
    column = column.cast(pl.String)
    within = [column.str.starts_with(text + " > ") for text in texts]
    return pl.any_horizontal(column.is_in(pl.Series([texts], dtype=pl.List(pl.String))), *within)
