"""Opening what people publish: plain or gzipped text, JSON or Python-literal lines, with errors that name the line."""

from __future__ import annotations

import ast
import gzip
import json
import math
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from seqlore.errors import DataError

#: Rows that live as Python objects at one time while a file is read; a full chunk moves into a polars frame.
CHUNK = 50_000


def is_gzip(path: Path) -> bool:
    """Whether the content is gzip, whatever the name.

    Raises: DataError: there is no such file, it is empty, or its name ends in .gz and its content is something else.
    """
    try:
        with open(path, "rb") as handle:
            magic = handle.read(2)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); check the path") from error
    if not magic:
        raise DataError(f"{path}: the file is empty; download or export it again")
    zipped = magic == b"\x1f\x8b"
    if path.suffix == ".gz" and not zipped:
        raise DataError(
            f"{path}: broken gzip: it does not begin as gzip does; download it again, or drop .gz if it is text"
        )
    return zipped


def lines(path: Path, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of a plain or gzipped text file; a byte-order mark is dropped.

    Raises: DataError: the file is missing, empty, a broken or truncated gzip, or not text in ``encoding``.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if is_gzip(path) else open(path, "rb") as handle:
            for number, raw in enumerate(handle, start=1):
                line = raw.decode(encoding).rstrip("\r\n")
                yield number, line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: not {encoding} text at byte {error.start + 1}; convert the file to UTF-8 "
            "(or, of a CSV, name its --encoding)"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}, after line {number}: broken gzip ({error}); download it again") from error
    except OSError as error:
        raise DataError(f"{path}, after line {number}: cannot be read ({error})") from error
    except LookupError as error:
        raise DataError(f"{path}: {encoding!r} is no encoding; use utf-8, latin-1, cp1252, …") from error


def records(path: Path, wanted: Callable[[str], bool] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, record) of a file with one object a line: JSON, or a Python dict literal as older sets print it.

    Lines for which ``wanted`` is false are not parsed, which is what takes time.

    Raises: DataError: as :func:`lines`, or a line is neither.
    """
    for number, line in lines(path):
        if not line.strip() or (wanted is not None and not wanted(line)):
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            record = _literal(line)
            if record is None:
                hint = "the file is one JSON array: write one object a line" if line.lstrip()[:1] == "[" else error
                raise DataError(
                    f"{path}, line {number}: not a JSON object ({hint}); mend or remove the line"
                ) from error
        if not isinstance(record, dict):
            raise DataError(
                f"{path}, line {number}: a {type(record).__name__}, not an object; write one JSON object a line"
            )
        yield number, record


def _literal(line: str) -> object | None:
    """A Python literal, or None where the line is not one (``ast.literal_eval`` runs no code)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd backslash in a description concerns nobody
            return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def first_record(path: Path) -> dict[str, Any]:
    """The first record. Raises: DataError: as :func:`records`, or there is none."""
    for _, record in records(path):
        return record
    raise DataError(f"{path}: the file holds no records; download or export it again")


def collect(rows: Iterable[Sequence[Any]], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Rows into a frame, chunk by chunk, so that only :data:`CHUNK` rows are Python objects at a time."""
    rows = iter(rows)
    frames = [pl.DataFrame(schema=schema)]
    while chunk := list(islice(rows, CHUNK)):
        try:
            frames.append(pl.DataFrame(chunk, schema=schema, orient="row"))
        except UnicodeEncodeError:  # half a surrogate pair, cut off by whoever shortened the text
            frames.append(pl.DataFrame([_encodable(row) for row in chunk], schema=schema, orient="row"))
    return pl.concat(frames, rechunk=True)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_encodable(v) for v in value] if isinstance(value, (list, tuple)) else value


def read_fields(path: Path, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The fields named in ``schema`` (strings and numbers) from a file with one JSON object a line.

    Polars reads it, many times faster than Python can; where it stumbles, the line reader either copes (a byte-order
    mark, a number in quotes, Python literals) or knows the line to name.

    Raises: DataError: as :func:`records`, or a field cannot take its type.
    """
    is_gzip(path)
    try:
        return pl.scan_ndjson(path, schema=dict(schema)).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError):
        return collect(
            ([typed(record.get(f), t, f, path, n) for f, t in schema.items()] for n, record in records(path)), schema
        )


def typed(value: Any, dtype: pl.DataType, field: str, path: Path, number: int) -> Any:
    """``value`` as a string (anything else in its JSON form) or a number; NaN is null.

    Raises: DataError: it is to be a number and is none.
    """
    if value is None or (isinstance(value, str) and dtype == pl.String()):
        return value
    if dtype == pl.String():
        return json.dumps(value, ensure_ascii=False)
    try:
        result = int(value) if dtype.is_integer() else float(value)
        if math.isnan(result):
            return None
        if -(2**63) <= result < 2**63:
            return result
    except (TypeError, ValueError, OverflowError):
        pass
    raise DataError(f"{path}, line {number}: {field} is {value!r} but must be a number; mend or remove the line")


def text(value: object) -> str | None:
    """A text field; some editions give it as a list of paragraphs."""
    if isinstance(value, list):
        return " ".join(str(v) for v in value if v) or None
    return None if value is None else str(value)


def texts(value: object) -> list[str] | None:
    """A field with a list of texts; None where it is anything else."""
    return [str(v) for v in value] if isinstance(value, list) else None


def record_line(path: Path, row: int) -> str:
    """``"line 17"``: where the record behind row ``row`` (from 0) of a one-object-a-line file stands."""
    number = next(islice((n for n, _ in records(path)), row, None), row + 1)
    return f"line {number}"
