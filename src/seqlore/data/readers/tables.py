"""Plain tables: CSV, TSV, Parquet, JSON lines; the columns may have any names, which a mapping gives Seqlore's."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path

import polars as pl

from seqlore.config import nearest
from seqlore.data.readers._files import CHUNK, first_record, is_gzip, lines, record_line, records
from seqlore.data.readers._frames import TEXTS, Raw
from seqlore.errors import DataError

#: A whole column of these is a column of numbers. A leading zero says code, not number (zip, EAN, phone).
_NUMBER = r"^-?(0|[1-9]\d{0,17})(\.\d+)?([eE][+-]?\d+)?$"
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
_ENDINGS = {"csv": ".csv", "parquet": ".parquet", "jsonl": ".jsonl"}
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")


def read_tables(
    path: Path,
    *,
    items: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
    format: str | None = None,
) -> Raw:
    """Interactions from one table, items from another (of any of the kinds).

    Args:
        path: ``.csv``, ``.tsv``, ``.txt``, ``.jsonl`` (each also ``.gz``) or ``.parquet``.
        items: the same for the items.
        columns: Seqlore's name → the file's name, for the interactions: ``{"user_id": "reviewer"}``.
        item_columns: likewise for the items.
        separator: of a CSV, one character or "tab"; otherwise taken from the first line of the interactions.
        header: column names, for a CSV whose first line is data already.
        encoding: of a CSV; UTF-8 with or without a byte-order mark unless told.
        format: ``"csv"``, ``"parquet"`` or ``"jsonl"``, whatever the ending of ``path``; None: as the ending says.

    Raises: DataError: as :func:`read_table`; or the separator is more than one character.
    """
    separator, kind = _separator(path, separator), None if format is None else _ENDINGS[format]
    events = read_table(path, columns or {}, separator, header, encoding, kind)
    raw = Raw(path, events, files=[path], where=partial(where, path, separator, header, encoding, kind=kind))
    if items is not None:
        described = read_table(Path(items), item_columns or {}, encoding=encoding)
        if "item_id" not in described.columns:
            raise DataError(
                f"{items}: column 'item_id' is missing (columns there: {', '.join(described.columns)}); "
                "map it with --item-column item_id=THEIR_NAME"
            )
        raw.items, raw.files = described, [path, Path(items)]
    elif item_columns:
        raise DataError(f"{path}: a mapping of item columns needs an items file; give --items, or drop the mapping")
    return raw


def rename(frame: pl.DataFrame, mapping: Mapping[str, str], path: Path) -> pl.DataFrame:
    """``frame`` with column ``mapping[ours]`` called ``ours``.

    Raises: DataError: the file has no such column, or another column already has our name.
    """
    for ours, theirs in mapping.items():
        if theirs not in frame.columns:
            raise DataError(
                f"{path}: no column {theirs!r} to map to {ours!r}{nearest(theirs, frame.columns)} "
                f"(columns there: {', '.join(frame.columns)})"
            )
        if ours in frame.columns and ours != theirs and ours not in mapping.values():
            raise DataError(
                f"{path}: {theirs!r} is mapped to {ours!r}, but the file has a column of that name as well; "
                f"map that one away too (other_name={ours})"
            )
    return frame.rename({theirs: ours for ours, theirs in mapping.items()})


def read_table(
    path: Path,
    mapping: Mapping[str, str],
    separator: str | None = None,
    header: Sequence[str] | None = None,
    encoding: str = "utf-8",
    kind: str | None = None,
) -> pl.DataFrame:
    """One table, its columns renamed by ``mapping`` (ours → theirs).

    A column of a CSV that holds nothing but numbers becomes a column of numbers, ids and texts (a book called "1984")
    excepted. ``kind`` is the ending that tells how to read it, where that of the file does not.

    Raises: DataError: unknown kind of file, damaged, or without a mapped column.
    """
    kind = kind or _kind(path)
    if kind == ".parquet":
        try:
            frame = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError(f"{path}: not a readable Parquet file ({_first(error)}); export it again") from error
        return rename(frame, mapping, path)
    if kind in _TEXT_SUFFIXES:
        frame = rename(_read_csv(path, separator, header, encoding), mapping, path)
        return frame.with_columns(_number(c) for c in frame if not c.name.endswith("_id") and c.name not in TEXTS)
    if kind in _JSON_SUFFIXES:
        return rename(_read_json_lines(path), mapping, path)
    known = ", ".join((*_TEXT_SUFFIXES, *_JSON_SUFFIXES, ".parquet"))
    raise DataError(f"{path}: the ending {kind!r} is no table that Seqlore knows; it reads {known}")


def _kind(path: Path) -> str:
    """The ending that tells the kind, ``.gz`` aside."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def _separator(path: Path, separator: str | None) -> str | None:
    """The character that is meant: a tab can hardly be typed."""
    separator = "\t" if separator in ("tab", r"\t") else separator
    if separator is not None and len(separator.encode()) != 1:
        raise DataError(f"{path}: separator {separator!r} is not one plain character; name one, or tab")
    return separator


def separator_of(path: Path, encoding: str = "utf-8") -> str:
    """The separator that occurs most often in the first line: tab, comma, semicolon or bar."""
    _, line = next(lines(path, encoding), (1, ""))
    return max("\t,;|", key=line.count)


def _read_csv(path: Path, separator: str | None, header: Sequence[str] | None, encoding: str) -> pl.DataFrame:
    is_gzip(path)
    separator = separator or separator_of(path, encoding)
    # Polars decodes UTF-8 itself; any other encoding it has Python decode, all at once.
    native = encoding.lower().replace("-", "") == "utf8"
    try:
        frame = pl.read_csv(
            path,
            separator=separator,
            has_header=header is None,
            infer_schema=False,
            encoding="utf8" if native else encoding,
        )
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError):
        frame = _csv_by_line(path, separator, header is None, encoding)
    # A line without anything in it is no event, wherever it stands.
    frame = frame.filter(pl.any_horizontal(pl.all().is_not_null()))
    if any("\n" in name for name in frame.columns):
        raise DataError(f"{path}, line 1: a quote is opened in the header and not closed there; mend the line")
    if header is None:
        reader = csv.reader((line + "\n" for _, line in lines(path, encoding)), delimiter=separator)
        _distinct(next(filter(any, reader), []), f"{path}, line {reader.line_num}")
    else:
        if len(header) != frame.width:
            raise DataError(f"{path}: {len(header)} column names were given but the lines have {frame.width} fields")
        _distinct(header, f"{path}, --header")
        frame.columns = list(header)
    return frame


def _distinct(names: Sequence[str], where: str) -> None:
    """Raises: DataError: two columns have one name; of those that have none there may be several."""
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise DataError(f"{where}: two columns are called {twice!r}; each needs a name of its own")


def _number(column: pl.Series) -> pl.Series:
    if not column.count() or not column.str.contains(_NUMBER).all():
        return column
    whole = not column.str.contains(r"[.eE]").any()
    return column.cast(pl.Int64 if whole else pl.Float64)


def _csv_by_line(path: Path, separator: str, has_header: bool, encoding: str) -> pl.DataFrame:
    """What polars cannot read, read slowly: a quote within a field that is not quoted (12" pan) is a character.

    Raises: DataError: with the line at fault.
    """
    reader = csv.reader((line + "\n" for _, line in lines(path, encoding)), delimiter=separator, strict=True)
    rows = filter(any, reader)
    try:
        first = next(rows, [])
        names = [(has_header and name) or f"column_{i}" for i, name in enumerate(first, start=1)]
        _distinct(names, f"{path}, line {reader.line_num}")

        def fitted(fields: list[str]) -> list[str | None]:
            if len(fields) > len(names):
                raise DataError(
                    f"{path}, line {reader.line_num}: {len(fields)} fields where the first line has {len(names)}; "
                    "quote the field that holds the separator, or name the right --separator"
                )
            return [field or None for field in fields] + [None] * (len(names) - len(fields))

        rows = rows if has_header else chain([first], rows)
        schema, parts = dict.fromkeys(names, pl.String), []
        while chunk := list(map(fitted, islice(rows, CHUNK))):
            parts.append(pl.DataFrame(chunk, schema, orient="row"))
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not CSV ({error}); mend the line") from error


def _read_json_lines(path: Path) -> pl.DataFrame:
    first_record(path)
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError):
        rows = (record for _, record in records(path))
        parts = []
        try:
            while chunk := list(islice(rows, CHUNK)):
                parts.append(pl.from_dicts(chunk, infer_schema_length=None, strict=False))
            return pl.concat(parts, how="diagonal_relaxed")
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise DataError(f"{path}: a field changes its type between lines ({_first(error)}); make it one") from error


def where(
    path: Path, separator: str | None, header: Sequence[str] | None, encoding: str, row: int, kind: str | None = None
) -> str:
    """Row ``row`` (from 0) of a table as a person finds it: ``"line 17"``."""
    kind = kind or _kind(path)
    if kind in _JSON_SUFFIXES:
        return record_line(path, row)
    if kind in _TEXT_SUFFIXES:
        reader = csv.reader(
            (line + "\n" for _, line in lines(path, encoding)), delimiter=separator or separator_of(path, encoding)
        )
        with suppress(csv.Error):  # Python's reader is stricter than polars'
            next(islice(filter(any, reader), row + (header is None), None), None)
            return f"line {reader.line_num}"
    return f"row {row + 1}"


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
