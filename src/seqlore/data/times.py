"""Times: what a column holds, as whole seconds since 1970, and the order of those that one second has in common."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from seqlore.errors import DataError

#: Seconds since 1970, in the year 5138: a number that is larger counts smaller units (as milliseconds, from 1973 on).
LATEST = 10**11
_UNITS = ((10**17, "nanoseconds", 10**9), (10**14, "microseconds", 10**6), (LATEST, "milliseconds", 10**3))
_TICKS = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


class BadTime(DataError):
    """A time that cannot be read, at ``row`` of the column."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


class Times(NamedTuple):
    """A column of times, read.

    Attributes:
        seconds: int64, since 1970 (UTC), rounded down.
        note: what was done; "" for nothing.
        exact: what orders those of one second; None where nothing is finer than seconds.
    """

    seconds: pl.Series
    note: str = ""
    exact: pl.Series | None = None

    def into(self, events: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
        """``events`` with these for ``timestamp``, those of a user in one second in their exact order; and notes.

        Rows are exchanged within such a second alone; equal times stay in the order of the file.
        """
        events, notes = events.with_columns(self.seconds.alias("timestamp")), [self.note] if self.note else []
        if self.exact is None or "user_id" not in events.columns:
            return events, notes
        frame = events.select("user_id", "timestamp", self.exact.alias("exact")).with_row_index("row")
        shared = frame.filter(pl.struct("user_id", "timestamp").is_duplicated())  # few, and only they need sorting
        order = shared.select(pl.col("row").sort_by("exact", "row").over("user_id", "timestamp"))["row"]
        if (order != shared["row"]).any():
            events = events[frame["row"].scatter(shared["row"], order)]
            notes.append("interactions: events of a user in one second stand in the order of their exact times")
        return events, notes


def in_seconds(column: pl.Series) -> Times:
    """Numbers are seconds; NaN is null. What is neither a number nor a date is left as it is.

    Raises: BadTime: a number is none of seconds, or at least half count smaller units.
    """
    if column.dtype == pl.Date():
        return Times(column.dt.epoch("s"))
    if isinstance(column.dtype, pl.Datetime):
        return _down(column, column.to_physical(), _TICKS[column.dtype.time_unit])
    if not column.dtype.is_numeric():
        return Times(column)
    number = _number(column)
    large = (number.abs() > LATEST).fill_null(value=False)
    if large.any() and 2 * large.sum() >= number.count():  # few are the end of time (9999-12-31), no other unit
        row = int(large.arg_max() or 0)
        raise BadTime(
            row,
            f"timestamp {column[row]} is no time in seconds since 1970; divide by 1,000 what counts milliseconds, or "
            "let `seqlore data import` read the table (interactions.parquet, with --items items.parquet)",
        )
    return _down(column, number, 1)


def to_seconds(column: pl.Series) -> Times:
    """As :func:`in_seconds`, and smaller units where numbers are too large for seconds; strings are numbers or ISO
    8601, taken as UTC where they name no zone; an empty one is null.

    Raises: BadTime: a value is neither, or the column mixes units.
    """
    if column.dtype == pl.String():
        text = column.str.strip_chars().replace("", None)
        number = text.cast(pl.Float64, strict=False)
        if number.count() < text.count():
            return _from_iso(text, number)
        # A cast through float would blur nanoseconds; integers are read as such where all are.
        whole = text.cast(pl.Int64, strict=False)
        column = whole if whole.count() == number.count() else number
    if not column.dtype.is_numeric():
        return in_seconds(column)
    number = _number(column)
    size = number.abs()
    largest = float(size.max() or 0)  # type: ignore[arg-type]
    for limit, unit, factor in _UNITS:
        if largest > limit:
            small, large = (size > 0) & (size < limit), size > limit
            if small.any():
                odd = small if small.sum() <= large.sum() else large
                row = int(odd.arg_max() or 0)
                raise BadTime(row, f"timestamp {column[row]} is in other units than the rest; use one unit")
            return _down(column, number, factor, f"timestamp: {unit} divided by {factor:,} to give seconds")
    return in_seconds(column)


def _number(column: pl.Series) -> pl.Series:
    """As int64, or as float64 where it has decimals.

    Raises: BadTime: infinite, or beyond 64 bits.
    """
    if column.dtype.is_integer():
        number = column.cast(pl.Int64, strict=False)
        wrong = number.is_null() & column.is_not_null()
    else:
        column = column.fill_nan(None) if column.dtype.is_float() else column
        number = column.cast(pl.Float64)
        wrong = (number.abs() >= 2.0**63).fill_null(value=False)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        told = (
            "infinite" if column.dtype.is_float() and column.is_infinite()[row] else f"{column[row]}, which is no time"
        )
        raise BadTime(row, f"timestamp is {told}; give seconds since 1970")
    return number


def _down(column: pl.Series, ticks: pl.Series, second: int, note: str = "") -> Times:
    """Args: ticks: ``column`` as numbers. second: ticks in one."""
    if ticks.dtype.is_integer() and second == 1:
        return Times(ticks, note)
    finer = (ticks % second != 0).any()
    return Times((ticks // second).cast(pl.Int64), note, column if finer else None)


def _from_iso(text: pl.Series, number: pl.Series) -> Times:
    plain = text.str.replace(r"^(\d{4}-\d{2}-\d{2})[Tt]", "$1 ").str.replace(r"\s*(Z|z|UTC)$", "+00:00")
    frame = pl.DataFrame({"t": plain})
    tries = [
        pl.col("t")
        .str.to_datetime(f, strict=False, time_unit="us", time_zone="UTC" if "%z" in f else None)
        .dt.epoch("us")
        for f in _FORMATS
    ]
    micro = frame.select(pl.coalesce(tries))["t"]
    bad = micro.is_null() & text.is_not_null()
    if bad.any():
        neither = bad & number.is_null()  # where dates and numbers are mixed, name what is neither, if anything is
        row = int((neither if neither.any() else bad).arg_max() or 0)
        raise BadTime(row, f"timestamp {text[row]!r} is neither a number nor an ISO 8601 date (2014-07-23T10:05:00Z)")
    digits = plain.str.extract(r"\.(\d+)").fill_null("").str.pad_end(12, "0")  # finer than microseconds, too
    note = "timestamp: dates in ISO 8601 read as seconds (UTC where no zone is given)"
    return Times(micro // 10**6, note, digits if digits.str.contains("[1-9]").any() else None)
