"""Steam reviews and games: ``steam_reviews.json`` or ``australian_user_reviews.json``, with ``steam_games.json``.

Sources: Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (arXiv:1808.09781); Pathak, Gupta &
McAuley, SIGIR 2017 (10.1145/3077136.3080724). All are Python dict literals, one a line.

Steam knows no stars: ``recommend`` (yes or no, Australian set only) is kept as a column, and no rating is made up. The
games' ``sentiment`` is left out: it sums up all reviews, held-out ones included.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from seqlore.data.readers._files import collect, first_record, record_line, records, text, texts, typed
from seqlore.data.readers._frames import Raw
from seqlore.errors import DataError

_REVIEW_SCHEMA = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "timestamp": pl.String(),
    "review": pl.String(),
    "hours": pl.Float64(),
}
_AUSTRALIAN_SCHEMA = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "posted": pl.String(),
    "review": pl.String(),
    "recommend": pl.Boolean(),
}
_GAME_SCHEMA = {
    "item_id": pl.String(),
    "title": pl.String(),
    "brand": pl.String(),
    "categories": pl.List(pl.String()),
    "tags": pl.List(pl.String()),
    "specs": pl.List(pl.String()),
    "release_date": pl.String(),
    "price": pl.String(),
}
_NAMES = {"user_id": "username", "item_id": "product_id", "timestamp": "date", "review": "text"}
_REVIEWS = ("steam_reviews.json", "australian_user_reviews.json")


def read_steam(path: Path, *, items: str | Path | None = None, all_items: bool = False) -> Raw:
    """Reviews, and the games from ``items`` or from ``steam_games.json(.gz)`` beside them.

    Args:
        path: one of the two review files, or the folder of one.
        all_items: keep games without a review.
    """
    if path.is_dir():
        there = [f for n in _REVIEWS for f in (path / n, path / f"{n}.gz") if f.is_file()]
        if len(there) != 1:
            names = ", ".join(f.name for f in there) or "none"
            raise DataError(f"{path}: one of {' and '.join(_REVIEWS)} is needed, and there are {names}; name the file")
        path = there[0]
    australian = "reviews" in first_record(path)
    if australian:
        raw = Raw(path, _read_australian(path), files=[path])
        raw.notes.append("position: oldest first; reviews without a year are of the year of the crawl and come last")
    else:
        events, line = collect(_reviews(path), _REVIEW_SCHEMA), partial(record_line, path)
        raw = Raw(path, events, files=[path], where=line, names=_NAMES)
    beside = (path.with_name("steam_games.json"), path.with_name("steam_games.json.gz"))
    games = Path(items) if items is not None else next((f for f in beside if f.is_file()), None)
    if games is None:
        raw.notes.append("items: no steam_games.json beside the reviews, so the items have no texts")
        return raw
    wanted = None if all_items else set(raw.interactions["item_id"].unique())
    raw.items = collect(_games(games, wanted), _GAME_SCHEMA)
    raw.files.append(games)
    return raw


def _id(record: dict[str, Any], key: str, path: Path, number: int) -> str:
    value = record.get(key)
    if value is None or value == "":
        raise DataError(f"{path}, line {number}: no {key!r}; this is no line of Steam reviews, or mend it")
    return str(value)


def _reviews(path: Path) -> Iterator[tuple[Any, ...]]:
    for n, r in records(path):
        yield (
            _id(r, "username", path, n),
            _id(r, "product_id", path, n),
            text(r.get("date")),
            text(r.get("text")),
            typed(r.get("hours"), pl.Float64(), "hours", path, n),
        )


def _australian(path: Path) -> Iterator[tuple[Any, ...]]:
    for n, r in records(path):
        user = _id(r, "user_id", path, n)
        for each in r.get("reviews") or ():
            if not isinstance(each, dict):
                raise DataError(f"{path}, line {n}: a review is {each!r}, not an object; mend or remove the line")
            recommend = each.get("recommend")
            yield (
                user,
                _id(each, "item_id", path, n),
                text(each.get("posted")),
                text(each.get("review")),
                recommend if isinstance(recommend, bool) else None,
            )


def _read_australian(path: Path) -> pl.DataFrame:
    """A profile page lists the newest review first, dated ``Posted November 5, 2011.``, without the year where it is
    the year of the crawl: so undated reviews are the latest, and within a day the lower one on the page is the older.
    """
    frame = collect(_australian(path), _AUSTRALIAN_SCHEMA).with_row_index("page")
    day = pl.col("posted").str.to_date("Posted %B %d, %Y.", strict=False).dt.epoch("s")
    frame = frame.with_columns(day.alias("timestamp"))
    frame = frame.sort("user_id", "timestamp", "page", descending=[False, False, True], nulls_last=True)
    position = pl.int_range(pl.len(), dtype=pl.Int32).over("user_id").alias("position")
    return frame.with_columns(position).sort("page").drop("page", "posted")


def _games(path: Path, wanted: set[str] | None) -> Iterator[tuple[Any, ...]]:
    for _, game in records(path):
        item_id = game.get("id")
        if item_id is None or (wanted is not None and str(item_id) not in wanted):
            continue  # one game of the published file has no id
        yield (
            str(item_id),
            text(game.get("title") or game.get("app_name")),
            text(game.get("developer") or game.get("publisher")),
            texts(game.get("genres")),
            texts(game.get("tags")),
            texts(game.get("specs")),
            text(game.get("release_date")),
            text(game.get("price")),
        )
