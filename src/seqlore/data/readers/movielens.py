"""MovieLens in its three shapes: 100K (``u.data``), 1M and 10M (``ratings.dat``), 20M and later (``ratings.csv``).

Source: Harper & Konstan, "The MovieLens Datasets", ACM TiiS 5(4), 2015 (10.1145/2827872). Titles stay as published,
year included; the year is also a column of its own. Users of 1M come with codes for age and occupation, which are read
as what their README says they mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from seqlore.data.readers._files import is_gzip, lines
from seqlore.data.readers._frames import Raw
from seqlore.data.readers.tables import read_table
from seqlore.errors import DataError

#: The flags of ``u.item``, in order, for copies that come without ``u.genre``.
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
#: Codes of ``users.dat``, by the README of 1M; an age is a group.
_AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56+"}
_OCCUPATIONS = (
    "other or not specified", "academic/educator", "artist", "clerical/admin", "college/grad student",
    "customer service", "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip
_YEAR = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32).alias("year")


def read_movielens(path: Path) -> Raw:
    """Ratings, movies and (100K, 1M) users from the unpacked folder, or from the ratings file in it."""
    folder = path if path.is_dir() else path.parent
    if (folder / "u.data").is_file():
        return _read_100k(folder)
    if (folder / "ratings.dat").is_file():
        return _read_dat(folder)
    if (folder / "ratings.csv").is_file():
        return _read_csv(folder)
    raise DataError(f"{folder}: no u.data, ratings.dat or ratings.csv there; unpack the MovieLens archive first")


def _split(path: Path, separator: str, names: list[str]) -> pl.DataFrame:
    """Lines cut at a separator of any length, without quoting; all strings. Blank lines are left out.

    Raises: DataError: a line has too few or too many fields.
    """
    line = _lines(path)
    fields = line.str.count_matches(separator, literal=True) + 1
    if (bad := fields != len(names)).any():  # null, a blank line, is not bad
        row = int(bad.arg_max() or 0)
        raise DataError(
            f"{path}, line {row + 1}: {fields[row]} fields, not {len(names)}, between {separator!r}; mend the line"
        )
    return line.drop_nulls().str.splitn(separator, len(names)).struct.rename_fields(names).struct.unnest()


def _lines(path: Path) -> pl.Series:
    """All lines, a blank one as null. The older archives are Latin-1, the newer UTF-8."""
    is_gzip(path)
    try:
        options: Any = {"has_header": False, "quote_char": None, "infer_schema": False, "new_columns": ["line"]}
        return pl.read_csv(path, separator="\x1f", **options)["line"]
    except (pl.exceptions.PolarsError, OSError):
        return pl.Series("line", [line or None for _, line in lines(path, "latin-1")])


def _read_100k(folder: Path) -> Raw:
    events = _split(folder / "u.data", "\t", ["user_id", "item_id", "rating", "timestamp"])
    raw = Raw(folder / "u.data", events, files=[folder / "u.data"], where=_line)
    if (folder / "u.item").is_file():
        named = ["item_id", "title", "release_date", "video_date", "imdb_url"]
        frame = _split(folder / "u.item", "|", [*named, *_GENRES])
        flags = pl.concat_list(pl.when(pl.col(g) == "1").then(pl.lit(g)) for g in _GENRES).list.drop_nulls()
        raw.items = frame.select("item_id", "title", _YEAR, flags.alias("categories"), "release_date")
        raw.files.append(folder / "u.item")
    if (folder / "u.user").is_file():
        raw.users = _split(folder / "u.user", "|", ["user_id", "age", "gender", "occupation", "zip"])
        raw.files.append(folder / "u.user")
    return raw


def _read_dat(folder: Path) -> Raw:
    events = _split(folder / "ratings.dat", "::", ["user_id", "item_id", "rating", "timestamp"])
    raw = Raw(folder / "ratings.dat", events, files=[folder / "ratings.dat"], where=_line)
    if (folder / "movies.dat").is_file():
        raw.items = _with_genres(_split(folder / "movies.dat", "::", ["item_id", "title", "genres"]))
        raw.files.append(folder / "movies.dat")
    if (folder / "users.dat").is_file():
        users = _split(folder / "users.dat", "::", ["user_id", "gender", "age", "occupation", "zip"])
        jobs = {str(code): name for code, name in enumerate(_OCCUPATIONS)}
        raw.users = users.with_columns(pl.col("age").replace(_AGES), pl.col("occupation").replace(jobs))
        raw.files.append(folder / "users.dat")
    return raw


def _read_csv(folder: Path) -> Raw:
    names = {"user_id": "userId", "item_id": "movieId"}
    path = folder / "ratings.csv"
    raw = Raw(path, read_table(path, names, ","), files=[path], where=lambda row: f"line {row + 2}")
    movies = folder / "movies.csv"
    if movies.is_file():
        raw.items = _with_genres(read_table(movies, {"item_id": "movieId"}, ","))
        raw.files.append(movies)
    return raw


def _with_genres(frame: pl.DataFrame) -> pl.DataFrame:
    genres = pl.col("genres").replace("(no genres listed)", None).str.split("|").alias("categories")
    return frame.select("item_id", "title", _YEAR, genres)


def _line(row: int) -> str:
    return f"line {row + 1}"
