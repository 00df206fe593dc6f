"""Rows of texts about items and users, as files of others may have them: checked, and named by number from 1."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from seqlore.errors import DataError

KINDS = ("item", "user")
#: Number of a row, a column of :func:`typed`.
ROW = "row"


def typed(frame: pl.DataFrame, what: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    """The ``columns`` (name → type) of ``frame`` in their types, and ``row``.

    Args: what: where they are from, the beginning of the message.

    Raises: DataError: a column is missing, or a value is not of its type.
    """
    for name in columns:
        if name not in frame.columns:
            have = ", ".join(frame.columns) or "none"
            raise DataError(f"{what}: column {name!r} is missing (columns there: {have}); rows have {[*columns]}")
    taken = {}
    for name, dtype in columns.items():
        given = frame[name]
        if given.dtype.is_nested() or given.dtype == pl.Object:
            raise DataError(f"{what}: column {name!r} is of type {given.dtype}; it must be {dtype()}")
        taken[name] = given.cast(dtype, strict=False)
        lost = given.is_not_null() & taken[name].is_null()
        if given.dtype.is_float() and taken[name].dtype.is_integer():  # 0.5 would be 0
            lost |= taken[name] != given
        if (at := lost.arg_true()).len():
            value = given[at[0]]
            raise DataError(f"{what}: row {at[0] + 1} has {name} {value!r}, which is no {dtype()}; mend it")
    return pl.DataFrame(taken).with_row_index(ROW, 1)


def refuse_nulls(frame: pl.DataFrame, what: str, names: Iterable[str]) -> None:
    """Raises: DataError: a column of ``names`` is null in a row of what :func:`typed` gave."""
    for name in names:
        if (rows := frame.filter(pl.col(name).is_null())[ROW]).len():
            raise DataError(f"{what}: row {rows[0]} has no {name}; fill it in, or leave the row out")


def labelled(frame: pl.DataFrame, what: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    """``columns`` (kind, id, version, text) of ``frame`` in their types; rows without text are left out.

    Raises: DataError: a column is missing or of another type, a cell is empty, a kind unknown, a version negative, or
        one is there twice.
    """
    frame = typed(frame, what, columns)
    frame = frame.filter(pl.col("text").str.strip_chars().str.len_chars() > 0)
    refuse_nulls(frame, what, columns)
    if (strange := frame.filter(~pl.col("kind").is_in(KINDS))).height:
        raise DataError(f"{what}: row {strange[ROW][0]}: kind {strange['kind'][0]!r} is neither 'item' nor 'user'")
    number = "number its wordings 0, 1, 2, …"
    for _, kind, id, version, _ in frame.filter(pl.col("version") < 0).head(1).iter_rows():
        raise DataError(f"{what}: {kind} {id!r} has version {version}; {number}")
    twice = frame.filter(pl.struct("kind", "id", "version").is_duplicated())
    for _, kind, id, version, _ in twice.head(1).iter_rows():
        raise DataError(f"{what}: {kind} {id!r} has version {version} twice; {number}")
    return frame.drop(ROW)
