"""Attributes of items: categories, brand or tags, as numbers that a net can look up.

A path such as "Beauty > Makeup > Nails" holds one attribute a level, each told apart by the levels above it. What every
item has tells none from another and is left out (the papers leave out the root for this reason). Published figures on
Amazon data use categories and brands; a dataset without a brand column gives categories alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Catalog
from seqlore.errors import DataError

#: Between the levels of a path.
LEVEL = ">"


def attribute_table(catalog: Catalog, fields: Iterable[str]) -> NDArray[np.int64]:
    """Attributes of each item, int64 [catalog.size, most of any item]; they count from 1, and 0 pads.

    ``fields`` are columns with a text or a list of texts; those that the items lack are passed over.

    Raises: DataError: no item has an attribute in any of them.
    """
    fields = list(fields)
    have = [f for f in fields if f in catalog.items.columns]
    rows = [
        [(f, a) for f, value in zip(have, row, strict=True) for a in _attributes(value)] for row in _rows(catalog, have)
    ]
    held = Counter(a for row in rows for a in set(row))
    number = {a: i for i, a in enumerate(sorted(a for a, n in held.items() if n < len(rows)), start=1)}
    kept = [sorted({number[a] for a in row if a in number}) for row in rows]
    if not number:
        raise DataError(
            f"no item has an attribute in {', '.join(map(repr, fields))} that others lack: name columns of the items "
            "that hold categories, brands or tags in the setting 'attributes'"
        )
    table = np.zeros((catalog.size, max(map(len, kept))), np.int64)
    for i, row in enumerate(kept, start=1):
        table[i, : len(row)] = row
    return table


def _rows(catalog: Catalog, fields: list[str]) -> Iterable[tuple]:
    return catalog.items.select(fields).iter_rows() if fields else [()] * len(catalog)


def _attributes(value: str | list[str] | None) -> Iterable[str]:
    """Every level of every path, written with those above it."""
    for text in [value] if isinstance(value, str) else value or []:
        levels = [level.strip() for level in str(text or "").split(LEVEL)]
        yield from (LEVEL.join(levels[:n]) for n in range(1, len(levels) + 1) if levels[n - 1])
