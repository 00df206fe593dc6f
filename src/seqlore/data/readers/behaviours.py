"""Typed behaviours: a user's bills, searches and visits in one history, as in Chu et al. 2023 (arXiv 2308.10837).

One table with a line an event: who, when, of what kind, and what is said of it (a shop, a query, a page). Each kind and
text is an item, whose title begins with the kind's word: "searched noodles" is another item than "paid noodles", in a
history, in a prompt and in a trie of titles, and any model reads the kind where it reads the title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl

from seqlore.data.readers._frames import Raw, timed
from seqlore.data.readers.tables import read_table, where
from seqlore.errors import ConfigError, DataError

#: Kinds and the word that tells an event of each: a participle.
VERBS: dict[str, str] = {"bill": "paid", "search": "searched", "visit": "visited"}
_COLUMNS = ("user_id", "timestamp", "behaviour", "text")


def read_behaviours(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    verbs: Mapping[str, str] | None = None,
    latest: int = 500,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
) -> Raw:
    """Events from one table; texts that differ in blanks only are one item.

    Args:
        path: a table of any kind that Seqlore reads.
        columns: our name (``user_id``, ``timestamp``, ``behaviour``, ``text``) → the file's, where they differ.
        verbs: kinds beside :data:`VERBS`, or other words for these.
        latest: events of a user that are kept, the latest ones (paper: 500).
        separator, header, encoding: of a CSV.

    Raises:
        DataError: a column is missing, a value is empty, or a kind has no word; names the line.
        ConfigError: a word is empty or tells two kinds, or ``latest`` is below one.
    """
    told = {**VERBS, **(verbs or {})}
    _check_words(told, latest)
    frame = read_table(path, columns or {}, separator, header, encoding)
    place = partial(where, path, separator, header, encoding)
    for column in _COLUMNS:
        if column not in frame.columns:
            raise DataError(
                f"{path}: column {column!r} is missing (columns there: {', '.join(frame.columns)}); "
                f"map it with --column {column}=THEIR_NAME"
            )
    frame = frame.select(_COLUMNS).with_columns(
        pl.col("user_id", "behaviour").cast(pl.String),
        pl.col("text").cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars(),
    )
    for column in _COLUMNS:
        empty = frame[column].is_null() | (frame[column].cast(pl.String) == "").fill_null(True)
        if empty.any():
            raise DataError(f"{path}, {place(_first(empty))}: {column} is empty; fill it in or remove the row")
    strange = ~frame["behaviour"].is_in(list(told))
    if strange.any():
        row = _first(strange)
        kind = frame["behaviour"][row]
        raise DataError(
            f"{path}, {place(row)}: behaviour {kind!r} is none of {', '.join(told)}; give it a word: "
            f"--verb {kind}=PARTICIPLE"
        )
    frame, notes = timed(frame, path, place, "timestamp")
    return _events(path, frame, told, latest, notes)


def _events(path: Path, frame: pl.DataFrame, told: Mapping[str, str], latest: int, notes: list[str]) -> Raw:
    ordered = frame.with_row_index().sort(["timestamp", "index"])
    kept = ordered.filter(pl.int_range(pl.len()).reverse().over("user_id") < latest).sort("index").drop("index")
    kept = kept.with_columns(item_id=pl.col("behaviour") + ":" + pl.col("text"))
    title = pl.col("behaviour").replace_strict(dict(told), return_dtype=pl.String) + " " + pl.col("text")
    items = kept.select("item_id", title.alias("title"), "text", "behaviour").unique("item_id", maintain_order=True)
    used = ", ".join(f"{kind} = {told[kind]}" for kind in sorted(kept["behaviour"].unique()))
    notes = [*notes, f"titles: a word for the kind, then the text ({used})"]
    if dropped := len(frame) - len(kept):
        notes.append(f"interactions: the latest {latest:,} of each user are kept, {dropped:,} earlier ones are not")
    return Raw(path, kept.drop("text"), items, files=[path], notes=notes)


def _check_words(told: Mapping[str, str], latest: int) -> None:
    if latest < 1:
        raise ConfigError(f"latest = {latest}: at least one event of a user must be kept")
    kinds: dict[str, str] = {}
    for kind, word in told.items():
        if not (word := " ".join(word.split())):
            raise ConfigError(f"the kind {kind!r} has no word: give it one, such as {kind}=chosen")
        if word in kinds:
            raise ConfigError(f"{word!r} tells both {kinds[word]!r} and {kind!r}: give each kind a word of its own")
        kinds[word] = kind


def _first(rows: pl.Series) -> int:
    return int(rows.arg_max() or 0)
