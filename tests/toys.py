"""Small worlds made by hand, for tests. Import as ``from toys import make_dataset``."""

from __future__ import annotations

import polars as pl

from seqlore.data import Dataset, Split
from seqlore.data.splits import ordered_sequences


def make_dataset(histories: dict[str, list[str]], titles: dict[str, str] | None = None, **columns: list) -> Dataset:
    """A dataset from one list of item ids a user; times count up within a user."""
    rows = [(u, i, t) for u, items in histories.items() for t, i in enumerate(items)]
    frame = pl.DataFrame(rows, schema={"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}, orient="row")
    frame = frame.with_columns(**{k: pl.Series(v) for k, v in columns.items()})
    items = None
    if titles is not None:
        items = pl.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    return Dataset.from_frames(frame, items, name="toy")


def make_split(histories: dict[str, list[str]], titles: dict[str, str] | None = None, **columns: list) -> Split:
    """As :func:`make_dataset`, with every event in the training part and no cases."""
    dataset = make_dataset(histories, titles, **columns)
    catalog, users, train = ordered_sequences(dataset)
    return Split(dataset, catalog, users, train, None, None)
