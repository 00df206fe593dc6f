"""RecBole's atomic files: ``NAME.inter``, ``NAME.item``, ``NAME.user``, tab-separated, with types in the header.

Source: Zhao et al., "RecBole: Towards a Unified, Comprehensive and Efficient Framework for Recommendation Algorithms",
CIKM 2021 (10.1145/3459637.3482016), https://recbole.io/docs/user_guide/data/atomic_files.html. Where RecBole splits
every ``token_seq`` at blanks, a title or a description stays one text here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from seqlore.config import nearest
from seqlore.data.readers._files import is_gzip, lines
from seqlore.data.readers._frames import TEXTS, Raw
from seqlore.data.readers.tables import rename
from seqlore.errors import DataError

TYPES = ("token", "token_seq", "float", "float_seq")
#: Names that RecBole's published sets use for what Seqlore calls otherwise; the first that is there is taken.
_USUAL = {
    "title": ("movie_title", "book_title", "game_title", "app_name", "business_name", "item_name", "name"),
    "categories": ("category", "class", "genre", "genres"),
    "review": ("review_text", "text"),
    "brand": ("developer",),
}


def read_recbole(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    item_columns: Mapping[str, str] | None = None,
    seq_separator: str = " ",
) -> Raw:
    """Interactions from an ``.inter`` file (or the folder of one), items and users from its neighbours.

    Args:
        columns, item_columns: Seqlore's name → the file's name, where the usual names are not enough.
        seq_separator: what stands between the members of a ``token_seq`` or ``float_seq``.
    """
    if path.is_dir():
        found = sorted([*path.glob("*.inter"), *path.glob("*.inter.gz")])
        if len(found) != 1:
            names = ", ".join(f.name for f in found) or "none"
            raise DataError(f"{path}: one .inter file is needed, and there are {len(found)} ({names}); name the file")
        path = found[0]
    stem = path.name.removesuffix(".gz").removesuffix(".inter")

    def part(kind: str, mapping: Mapping[str, str]) -> pl.DataFrame | None:
        beside = [f for f in (path.with_name(f"{stem}.{kind}"), path.with_name(f"{stem}.{kind}.gz")) if f.is_file()]
        if not beside:
            return None
        files.append(beside[0])
        return _read_atomic(beside[0], mapping, seq_separator)

    files = [path]
    events = _read_atomic(path, columns or {}, seq_separator)
    return Raw(
        path,
        events,
        items=part("item", item_columns or {}),
        users=part("user", {}),
        files=files,
        where=lambda row: f"line {row + 2}",
    )


def _read_atomic(path: Path, mapping: Mapping[str, str], seq_separator: str) -> pl.DataFrame:
    is_gzip(path)
    _, first = next(lines(path), (1, ""))
    types: dict[str, str] = {}
    for column in first.split("\t"):
        name, _, kind = column.rpartition(":")
        if kind not in TYPES or not name:
            what = f"has the unknown type {kind!r}{nearest(kind, TYPES)}" if name else "has no type"
            raise DataError(
                f"{path}, line 1: column {name or column!r} {what}; write name:type, with a type of {', '.join(TYPES)}"
            )
        types[name] = kind
    try:
        frame = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        for number, line in lines(path):
            if line.count("\t") >= len(types):
                raise DataError(
                    f"{path}, line {number}: {line.count(chr(9)) + 1} fields where the header has {len(types)}"
                ) from error
        raise DataError(f"{path}: not a readable atomic file ({error})") from error
    frame.columns = list(types)
    usual = {
        ours: next((t for t in theirs if t in types), None)
        for ours, theirs in _USUAL.items()
        if ours not in types and ours not in mapping
    }
    mapping = {**{o: t for o, t in usual.items() if t and t not in mapping.values()}, **mapping}
    frame = rename(frame, mapping, path)
    ours = {theirs: name for name, theirs in mapping.items()}
    return frame.with_columns(
        _convert(frame[ours.get(name, name)], kind, seq_separator, path) for name, kind in types.items()
    )


def _convert(column: pl.Series, kind: str, seq_separator: str, path: Path) -> pl.Series:
    if kind == "token" or column.name in TEXTS:
        return column
    if kind == "token_seq":
        return column.str.split(seq_separator)
    text = column if kind == "float" else column.str.split(seq_separator).explode()
    number = text.cast(pl.Float64, strict=False)
    if (bad := number.is_null() & text.is_not_null() & (text != "")).any():
        at = int(bad.arg_max() or 0)
        line = at + 2 if kind == "float" else 2 + int((column.str.contains(text[at], literal=True)).arg_max() or 0)
        raise DataError(
            f"{path}, line {line}: {column.name} is {text[at]!r}, but its header says {kind}; "
            "mend the line or the header"
        )
    if kind == "float":
        return number.rename(column.name)
    lists = column.str.split(seq_separator)
    return lists.list.eval(pl.element().cast(pl.Float64, strict=False)).rename(column.name)
