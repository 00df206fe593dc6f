"""External ids ↔ dense indices, for items (with their texts and attributes) and for users.

Index 0 is padding and "unknown". The order is by a hash of the external id: published files list items in an
order that carries time (ids grow as products appear), and a model, or a tie broken by index, could read the
answer from it. Because the order is a hash, "ties go to the lower index" is the protocol's fixed hash rule.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.errors import DataError


def _hash(external_id: str) -> bytes:
    return hashlib.blake2b(external_id.encode(), digest_size=16).digest()


class Vocabulary:
    """A bijection between external string ids and 1 … n, in hash order."""

    def __init__(self, ids: Iterable[str], *, ordered: bool = False) -> None:
        """Args: ids: unique external ids. ordered: they already are in hash order (a loaded vocabulary)."""
        ids = list(ids)
        self.ids: list[str] = ids if ordered else sorted(ids, key=_hash)
        self._index = {external: i for i, external in enumerate(self.ids, start=1)}
        if len(self._index) != len(self.ids):
            raise DataError("the ids of a vocabulary are not unique: remove the duplicate rows first")

    def __len__(self) -> int:
        """Number of ids, padding not counted."""
        return len(self.ids)

    def __contains__(self, external_id: object) -> bool:
        return external_id in self._index

    @property
    def size(self) -> int:
        """Rows that an embedding table needs: ``len(self) + 1``."""
        return len(self.ids) + 1

    def index(self, external_ids: Iterable[str]) -> NDArray[np.int32]:
        """int32 [n]; 0 for an id that is not in the vocabulary."""
        get = self._index.get
        return np.fromiter((get(e, 0) for e in external_ids), np.int32)

    def index_of(self, external_ids: Iterable[str], what: str) -> NDArray[np.int32]:
        """As ``index``, for ids that somebody typed. Raises: DataError: one in ``what`` is no text."""
        ids = list(external_ids)
        if odd := [each for each in ids if not isinstance(each, str)]:
            raise DataError(f"{what}: {odd[0]!r} is no text, as ids are: write it as the data does")
        return self.index(ids)

    def index_column(self, column: pl.Series) -> NDArray[np.int32]:
        """As ``index``, for a whole string column, by one join."""
        frame = pl.DataFrame(
            {"id": pl.Series(self.ids, dtype=pl.String), "index": np.arange(1, self.size, dtype=np.int32)}
        )
        joined = pl.DataFrame({"id": column}).join(frame, on="id", how="left", maintain_order="left")
        return joined["index"].fill_null(0).to_numpy().astype(np.int32, copy=False)

    def external(self, index: int) -> str:
        """The external id of one dense index (1 … n)."""
        return self.ids[index - 1]


def as_text(value: object) -> str:
    """One field of an item as plain text: lists joined by commas, null as the empty string."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple, pl.Series)):
        return ", ".join(as_text(v) for v in value if v is not None)
    return " ".join(str(value).split())


class Catalog(Vocabulary):
    """The items: vocabulary, texts and attributes.

    Attributes:
        items: frame whose row ``i`` describes dense index ``i + 1``; has ``item_id`` and any other columns.
    """

    def __init__(self, items: pl.DataFrame, *, ordered: bool = False) -> None:
        super().__init__(items["item_id"].to_list(), ordered=ordered)
        if not ordered:
            order = pl.DataFrame({"item_id": self.ids})
            items = order.join(items, on="item_id", how="left", maintain_order="left")
        self.items = items

    def texts(self, fields: Sequence[str] = ("title",), separator: str = ". ") -> list[str]:
        """One text per item, [n] in index order (item 1 first); the named fields that are not empty, joined.

        Raises: DataError: a field is not a column of the items.
        """
        for field in fields:
            if field not in self.items.columns:
                have = ", ".join(c for c in self.items.columns if c != "item_id")
                raise DataError(f"items have no text field {field!r}: choose among {have or 'none (no item texts)'}")
        columns = [[as_text(v) for v in self.items[f].to_list()] for f in fields]
        return [separator.join(v for v in row if v) for row in zip(*columns, strict=True)]

    @cached_property
    def titles(self) -> list[str]:
        """One display name per item, [n]: its title, or its id where it has none."""
        if "title" not in self.items.columns:
            return list(self.ids)
        return [as_text(t) or i for t, i in zip(self.items["title"].to_list(), self.ids, strict=True)]

    @cached_property
    def hash(self) -> str:
        """Hex digest of the ids in order: two models with the same digest share their indices."""
        return hashlib.sha256(json.dumps(self.ids).encode()).hexdigest()[:16]
