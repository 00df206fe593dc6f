"""Typed behaviours: bills, searches and visits of a user in one history, as in Alipay's data of Chu et al. 2023.

A table with a line an event: who, when, what kind, and what is said of it (an item's title, a query, a page). Each kind
and text is an item of the dataset, so that everything else in Seqlore reads the histories; ``behaviour`` is kept on
interactions and items. Chu et al. keep the 500 latest events of a user.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from pydantic import Field

from seqlore.config import Config
from seqlore.data import Dataset
from seqlore.errors import DataError
from seqlore.glm.histories import history_text
from seqlore.glm.texts import Entity, Text

#: Kinds and the word that stands before an event of each in a history.
VERBS: dict[str, str] = {"bill": "paid", "search": "searched", "visit": "visited"}


class BehaviourConfig(Config):
    """How the table is read."""

    at_most: int = Field(default=500, ge=1, description="Latest events of a user that are kept (paper: 500).")
    columns: dict[str, str] = Field(
        default={}, description="Names of user_id, timestamp, behaviour and text in the table, where they differ."
    )
    verbs: dict[str, str] = Field(
        default_factory=lambda: dict(VERBS), description="Kinds that there are, and the word told before each."
    )


def from_behaviours(table: pl.DataFrame, config: BehaviourConfig | None = None, *, name: str = "behaviours") -> Dataset:
    """A dataset of typed events; texts that differ in blanks only are one item.

    Raises: DataError: a column is missing, a value is empty, or a kind is not known; names the first such row.
    """
    config = config or BehaviourConfig()
    wanted = ("user_id", "timestamp", "behaviour", "text")
    for column in wanted:
        if (theirs := config.columns.get(column, column)) not in table.columns:
            raise DataError(
                f"{name}: column {theirs!r} is missing (there are {', '.join(table.columns)}); "
                f'say which it is with columns = {{ {column} = "THEIR_NAME" }}'
            )
    frame = table.select(pl.col(config.columns.get(c, c)).alias(c) for c in wanted)
    frame = frame.with_columns(pl.col("text").cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars())
    for column in wanted:
        empty = frame[column].is_null() | (frame[column].cast(pl.String) == "")
        if empty.any():
            raise DataError(f"{name}: {column} is empty at row {int(empty.arg_max() or 0) + 1}; fill it in or drop it")
    strange = ~frame["behaviour"].is_in(list(config.verbs))
    if strange.any():
        row = int(strange.arg_max() or 0)
        raise DataError(
            f"{name}: behaviour {frame['behaviour'][row]!r} at row {row + 1} is not one of {', '.join(config.verbs)}; "
            "add it to verbs with the word that tells it"
        )
    frame = frame.with_row_index().sort(["timestamp", "index"])
    frame = frame.filter(pl.int_range(pl.len()).reverse().over("user_id") < config.at_most).sort("index")
    frame = frame.with_columns(item_id=pl.col("behaviour") + ":" + pl.col("text"))
    items = frame.select("item_id", pl.col("text").alias("title"), "behaviour").unique("item_id", maintain_order=True)
    return Dataset.from_frames(
        frame.select("user_id", "item_id", "timestamp", "behaviour"),
        items,
        name=name,
        meta={"behaviours": dict(config.verbs), "filters": [f"latest {config.at_most} events of each user"]},
    )


def behaviour_text(
    history: list[Entity], kinds: list[str], verbs: Mapping[str, str] | None = None, *, blanks: int = 0
) -> Text:
    """``Paid noodles, searched rain coat, [MASK].``: a history of events of several kinds.

    Args: kinds: of each event. blanks: of the last so many events what they were is hidden, not their kind.
    """
    told = {**VERBS, **(verbs or {})}
    return tuple(history_text(history, blanks=blanks, kinds=[told[kind] for kind in kinds]))
