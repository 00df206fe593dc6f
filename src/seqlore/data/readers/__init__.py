"""Readers: what people publish and what shops export, into a :class:`~seqlore.data.Dataset`.

``read(path)`` finds out the format from names and content; ``FORMATS`` lists them. A reader is a function
``Path, options → Raw`` in a file of its own; what all share (times to seconds, clean texts, checks that name the
line) is in ``_frames`` and ``_files``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqlore.config import nearest
from seqlore.data.dataset import Dataset
from seqlore.data.readers._files import first_record, lines
from seqlore.data.readers._frames import Raw, finish
from seqlore.data.readers.amazon import read_amazon
from seqlore.data.readers.behaviours import read_behaviours
from seqlore.data.readers.movielens import read_movielens
from seqlore.data.readers.recbole import read_recbole
from seqlore.data.readers.steam import read_steam
from seqlore.data.readers.tables import read_tables
from seqlore.data.readers.yelp import read_yelp
from seqlore.errors import ConfigError, DataError

__all__ = ["FORMATS", "detect", "read"]


@dataclass(frozen=True)
class Format:
    """A reader, one line on what it reads, and whether items that nobody touched are kept unless told otherwise.

    A table of items is what its owner sells; a published dump describes a whole category or archive.
    """

    reader: Callable[..., Raw]
    about: str
    all_items: bool = False


FORMATS = {
    "csv": Format(read_tables, "CSV or TSV with a header (.csv, .tsv, .txt; also .gz), and an items table", True),
    "parquet": Format(read_tables, "Parquet, and an items table", True),
    "jsonl": Format(read_tables, "one JSON object a line (.jsonl, .ndjson, .json; also .gz), and an items table", True),
    "recbole": Format(read_recbole, "RecBole's atomic files (.inter, .item, .user)"),
    "amazon": Format(read_amazon, "Amazon reviews and metadata of 2014, 2018 or 2023 (.json, .jsonl; also .gz)"),
    "movielens": Format(read_movielens, "MovieLens 100K, 1M, 10M, 20M and later, unpacked"),
    "steam": Format(read_steam, "Steam reviews and games (steam_reviews.json, australian_user_reviews.json)"),
    "yelp": Format(read_yelp, "Yelp's academic dataset (…_review.json, …_business.json)"),
    "behaviours": Format(read_behaviours, "a table of events of several kinds: user_id, timestamp, behaviour, text"),
}

#: The format of a dataset folder, as Seqlore writes it.
FOLDER = "seqlore"


def read(
    path: str | Path,
    format: str | None = None,
    *,
    name: str | None = None,
    all_items: bool | None = None,
    **options: Any,
) -> Dataset:
    """Read interactions and whatever describes their items and users.

    Args:
        path: a file, or a folder that holds one data set; also a dataset folder that Seqlore wrote.
        format: one of :data:`FORMATS`, or ``"seqlore"``; found out from names and content where it is None.
        name: of the dataset; default: the file's or folder's.
        all_items: keep items that nobody interacted with. Default: yes for tables of your own, no for published sets.
        options: the reader's own, e.g. ``columns={"user_id": "reviewer"}``, ``items="products.csv"``.

    Raises:
        DataError: the format cannot be found out, or the data cannot be read; names the file and the line.
        ConfigError: unknown format or option.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; check the path")
    if format in (None, FOLDER) and (path / "interactions.parquet").is_file():
        return _load(path, name, options)
    format = format or detect(path)
    if format not in FORMATS:
        raise ConfigError(f"format {format!r} is unknown{nearest(format, FORMATS)} (there are: {', '.join(FORMATS)})")
    chosen = FORMATS[format]
    known = [p for p in inspect.signature(chosen.reader).parameters if p not in ("path", "format")]
    # Tables are read by their ending, unless somebody knows better.
    told = {"format": format} if "format" in inspect.signature(chosen.reader).parameters else {}
    keep = chosen.all_items if all_items is None else all_items
    for option in options:
        if option not in known or option == "all_items":
            raise ConfigError(
                f"{option!r} is no option of the format {format!r}{nearest(option, known)} "
                f"(it takes: {', '.join(known) or 'none'})"
            )
    raw = chosen.reader(path, **options, **told, **({"all_items": keep} if "all_items" in known else {}))
    return finish(raw, name=name or path.name.split(".")[0] or "dataset", format=format, all_items=keep)


def _load(folder: Path, name: str | None, options: dict[str, Any]) -> Dataset:
    """A dataset folder as it is, to be filtered and saved elsewhere."""
    if options:
        raise ConfigError(f"{folder} is a dataset folder, which needs no {', '.join(options)}; leave that out")
    dataset = Dataset.load(folder)
    return replace(dataset, name=name or dataset.name)


def detect(path: Path) -> str:
    """The format of a file or folder, from names first and the first record where names do not tell.

    Raises: DataError: nothing fits; lists the formats.
    """
    found = _of_folder(path) if path.is_dir() else _of_file(path)
    if found is None:
        formats = "; ".join(f"{name}: {each.about}" for name, each in FORMATS.items())
        raise DataError(f"{path}: the format cannot be told from names or content; name it with --format ({formats})")
    return found


def _of_folder(folder: Path) -> str | None:
    names = {f.name.removesuffix(".gz") for f in folder.iterdir()}
    if "interactions.parquet" in names:
        raise DataError(
            f"{folder}: this already is a dataset folder; load it, or name {folder / 'interactions.parquet'}"
        )
    if any(n.endswith(".inter") for n in names):
        return "recbole"
    if names & {"u.data", "ratings.dat"} or names >= {"ratings.csv", "movies.csv"}:
        return "movielens"
    candidates = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(("meta_", ".")))
    for file in candidates:
        if (found := _of_file(file)) in ("amazon", "steam", "yelp"):
            return found
    return None


def _of_file(path: Path) -> str | None:
    name = path.name.removesuffix(".gz")
    suffix = Path(name).suffix
    if name == "u.data" or suffix == ".dat":
        return "movielens"
    if suffix == ".inter":
        return "recbole"
    if suffix == ".parquet":
        return "parquet"
    if suffix in (".csv", ".tsv", ".txt"):
        films = name == "ratings.csv" and "userId,movieId" in next(lines(path, "latin-1"), (1, ""))[1]
        return "movielens" if films else "csv"
    if suffix in (".json", ".jsonl", ".ndjson"):
        keys = first_record(path).keys()
        if keys >= {"reviewerID", "asin"} or keys >= {"user_id", "parent_asin"}:
            return "amazon"
        if keys >= {"user_id", "reviews"} or keys >= {"username", "product_id"}:
            return "steam"
        return "yelp" if keys >= {"user_id", "business_id", "stars"} else "jsonl"
    return None
