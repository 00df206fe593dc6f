"""Recommendations for all users of a dataset, written to one Parquet file, a block of users at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from seqlore.data import Dataset
from seqlore.data.splits import ordered_sequences
from seqlore.errors import DataError
from seqlore.recommender import Recommender

#: Users in one block; with it a block of lists stays small whatever the size of the shop.
BLOCK = 4096
SCHEMA = {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "title": pl.String, "score": pl.Float32}


def recommend_all(
    model: Recommender,
    dataset: Dataset,
    out: str | Path,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the k best items for every user, given all that the user did; the dataset need not be that of the fit.

    The file has the columns ``user_id``, ``rank`` (from 1), ``item_id``, ``title``, ``score``, users in the order of
    the dataset. It appears when it is complete.

    Args: progress: called with (users done, users) after each block.

    Returns: the number of users.

    Raises: DataError: the model knows none of the dataset's items, or k is not positive.
    """
    if k < 1:
        raise DataError(f"k={k}: ask for at least one recommendation")
    _, users, sequences = ordered_sequences(dataset, catalog=model.catalog)
    histories = sequences.where(sequences.items > 0)
    if not len(histories.items):
        raise DataError(f"the model knows none of the {len(dataset.items):,} items of {dataset.name}: wrong dataset?")
    user_ids = pl.Series(users.ids, dtype=pl.String)
    asked = model.own_users(histories, users)
    item_ids, titles = pl.Series(model.catalog.ids, dtype=pl.String), pl.Series(model.catalog.titles, dtype=pl.String)

    def blocks(*_: object) -> Iterator[pl.DataFrame]:
        for start in range(0, len(histories), BLOCK):
            part = histories.take(slice(start, start + BLOCK))
            lists = model.rank(
                asked.take(slice(start, start + BLOCK)), min(k, len(model.catalog)), exclude_seen=exclude_seen
            )
            row, column = np.nonzero(lists.items)
            items = lists.items[row, column] - 1
            yield pl.DataFrame(
                {
                    "user_id": user_ids.gather(part.users[row] - 1),
                    "rank": (column + 1).astype(np.int32),
                    "item_id": item_ids.gather(items),
                    "title": titles.gather(items),
                    "score": lists.scores[row, column],
                },
                schema=SCHEMA,
            )
            if progress is not None:
                progress(min(start + BLOCK, len(histories)), len(histories))

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".part")
    try:
        register_io_source(blocks, schema=SCHEMA).sink_parquet(unfinished)
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)  # of a run that failed
    return len(histories)
