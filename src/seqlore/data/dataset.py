"""``Dataset``: interactions, items and users as immutable polars frames, on disk as a folder of Parquet files.

Folder format: ``interactions.parquet`` (``user_id``, ``item_id`` obligatory; ``timestamp`` in seconds, ``rating``,
``review``, ``summary``, ``position`` optional), ``items.parquet`` (``item_id``, ``title`` and any text columns),
``users.parquet`` and ``dataset.json`` where known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl

from seqlore.config import nearest
from seqlore.data.times import BadTime, in_seconds
from seqlore.errors import DataError

#: The columns whose meaning Seqlore knows, with the type that they are cast to. Any other column is kept as it is.
INTERACTION_TYPES: dict[str, pl.DataType] = {
    "user_id": pl.String(),
    "item_id": pl.String(),
    "timestamp": pl.Int64(),
    "rating": pl.Float32(),
    "review": pl.String(),
    "summary": pl.String(),
    "position": pl.Int32(),
}
ITEM_TYPES: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "brand": pl.String(),
    "description": pl.String(),
}
USER_TYPES: dict[str, pl.DataType] = {"user_id": pl.String()}


def conform(
    frame: pl.DataFrame, types: Mapping[str, pl.DataType], required: tuple[str, ...], what: str
) -> pl.DataFrame:
    """``frame`` with the known columns cast, or one clear error.

    Raises: DataError: no rows, a required column is missing or holds nulls, or a column cannot take its type.
    """
    for name in required:
        if name not in frame.columns:
            have = ", ".join(frame.columns) or "none"
            raise DataError(
                f"{what}: column {name!r} is missing (columns there: {have}); rename one, "
                f"or map it on import with --column {name}=THEIR_NAME"
            )
    if frame.is_empty():
        raise DataError(f"{what}: the file holds no rows, so there is nothing to recommend from")
    for name, dtype in types.items():
        if name not in frame.columns or frame.schema[name] == dtype:
            continue
        if name in ("user_id", "item_id"):
            frame = frame.with_columns(whole_ids(frame[name]))
        have = frame.schema[name]
        castable = (dtype == pl.String() and not have.is_nested()) or (
            dtype.is_numeric() and (have.is_numeric() or have in (pl.String(), pl.Null(), pl.Boolean()))
        )
        cast = frame[name].cast(dtype, strict=False) if castable else None
        lost = None if cast is None else cast.is_null() & frame[name].is_not_null()
        if lost is not None and name == "position" and have.is_float():  # cut, places would be equal that are not
            lost |= (cast != frame[name]).fill_null(False)
        if lost is None or lost.any():
            detail = ""
            if lost is not None:
                row = int(lost.arg_max() or 0)
                detail = f", first at row {row + 1}: {frame[name][row]!r}"
            raise DataError(
                f"{what}: column {name!r} has type {have} but needs {dtype}{detail}; convert it before the import"
            )
        frame = frame.with_columns(cast)
    for name, dtype in types.items():
        if dtype.is_float() and name in frame.columns:  # not a number is none, and no comparison may take it for one
            frame = frame.with_columns(pl.col(name).fill_nan(None))
            if (endless := frame[name].is_infinite().fill_null(value=False)).any():
                row = int(endless.arg_max() or 0) + 1
                raise DataError(f"{what}: column {name!r} is infinite at row {row}; mend it, or leave it empty")
    for name in required:
        if frame[name].null_count():
            row = int(frame[name].is_null().arg_max() or 0)
            raise DataError(f"{what}: column {name!r} is empty at row {row + 1}; remove that row or fill it in")
    return frame


def whole_ids(column: pl.Series) -> pl.Series:
    """Ids as integers where they are floats and whole: a table that once lacked some has 1.0 for the 1 of others."""
    if not column.dtype.is_float():
        return column
    whole = column.is_finite() & (column == column.round()) & (column.abs() < 2**53)
    return column.cast(pl.Int64) if whole.all() else column


def _content_hash(frame: pl.DataFrame) -> str:
    """Hex digest of the values, independent of file format, compression and library version."""
    digest = hashlib.sha256()
    for name in sorted(frame.columns):
        column = frame[name]
        digest.update(name.encode())
        if column.dtype.is_nested():
            column = pl.Series(
                [
                    None if v is None else json.dumps(v.to_list() if isinstance(v, pl.Series) else v, default=str)
                    for v in column
                ],
                dtype=pl.String(),
            )
        digest.update(column.is_null().to_numpy().tobytes())
        if column.dtype == pl.String():
            filled = column.fill_null("")
            digest.update(filled.str.len_bytes().to_numpy().tobytes())
            digest.update("".join(filled.to_list()).encode())
        elif column.dtype.is_numeric() or column.dtype == pl.Boolean():
            digest.update(column.cast(pl.Float64()).fill_null(0.0).to_numpy().tobytes())
        else:
            digest.update("\0".join(str(v) for v in column).encode())
    return digest.hexdigest()[:16]


def _meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); mend or delete it") from error
    kinds = {"name": str, "filters": list, "notes": list}
    if not isinstance(meta, dict):
        raise DataError(f"{path}: holds no JSON object; mend or delete it")
    for name, kind in kinds.items():
        if not isinstance(meta.get(name) or kind(), kind):
            raise DataError(f"{path}: {name} is {meta[name]!r} but must be a {kind.__name__}; mend or delete it")
    return {name: value for name, value in meta.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Immutable interactions, items and users.

    Attributes:
        interactions: one row an event, in the order of the file.
        items: one row an item; at least every item that occurs in ``interactions``.
        users: one row a user, or None where nothing is known about users.
        name: a short name for tables.
        meta: provenance: source, filters applied, licence. Written to ``dataset.json``.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame | None = None
    name: str = "dataset"
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_frames(
        cls,
        interactions: pl.DataFrame,
        items: pl.DataFrame | None = None,
        users: pl.DataFrame | None = None,
        *,
        name: str = "dataset",
        meta: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """Check and conform frames.

        Items that occur in interactions only are added with empty texts. Times become whole seconds; where they tell
        more, events of a user in one second are put in their exact order, and a note in ``meta`` says so.

        Raises: DataError: see :func:`conform`; also where times are no seconds, or an item or a user is
            described twice.
        """
        about = dict(meta or {})
        if "timestamp" in interactions.columns:
            try:
                interactions, notes = in_seconds(interactions["timestamp"]).into(interactions)
            except BadTime as error:
                raise DataError(f"interactions, row {error.row + 1}: {error}") from error
            about |= {"notes": [*about.get("notes", ()), *notes]} if notes else {}
        interactions = conform(interactions, INTERACTION_TYPES, ("user_id", "item_id"), "interactions")
        seen = interactions.select(pl.col("item_id").unique(maintain_order=True))
        if items is None:
            items = seen.with_columns(title=pl.lit(None, pl.String()))
        else:
            items = conform(items, ITEM_TYPES, ("item_id",), "items")
            missing = seen.join(items, on="item_id", how="anti", maintain_order="left")
            if len(missing):
                items = pl.concat([items, missing], how="diagonal")
        if users is not None:
            users = conform(users, USER_TYPES, ("user_id",), "users")
        for frame, key, what in ((items, "item_id", "items"), (users, "user_id", "users")):
            if frame is not None and (twice := frame.filter(pl.col(key).is_duplicated())).height:
                raise DataError(f"{what}: {key} {twice[key][0]!r} is described twice; keep one row")
        return cls(interactions, items, users, name, about)

    @classmethod
    def load(cls, folder: str | Path) -> Dataset:
        """Read a dataset folder.

        Raises: DataError: the folder or a file is missing or damaged, or a column does not fit.
        """
        folder = Path(folder)
        if not (folder / "interactions.parquet").is_file():
            raise DataError(
                f"{folder}: no interactions.parquet there; make a dataset folder with `seqlore data import`"
            )

        def read(stem: str) -> pl.DataFrame | None:
            path = folder / f"{stem}.parquet"
            if not path.is_file():
                return None
            try:
                return pl.read_parquet(path)
            except Exception as error:
                raise DataError(
                    f"{path}: not a readable Parquet file ({str(error).splitlines()[0]}); import it again"
                ) from error

        meta = _meta(folder / "dataset.json") if (folder / "dataset.json").is_file() else {}
        interactions = read("interactions")
        assert interactions is not None
        name = meta.pop("name", folder.resolve().name)
        meta.pop("hash", None)
        try:
            return cls.from_frames(interactions, read("items"), read("users"), name=name, meta=meta)
        except DataError as error:
            raise DataError(f"{folder}: {error}") from error

    def save(self, folder: str | Path) -> Path:
        """Write the dataset folder (made where absent); returns it. What was there stays until all is written.

        Raises: DataError: it cannot be written.
        """
        folder = Path(folder)
        frames = {"interactions": self.interactions, "items": self.items, "users": self.users}
        about = {"name": self.name, "hash": self.hash, **self.meta}
        told = {folder / f"{stem}.parquet.part": frame for stem, frame in frames.items() if frame is not None}
        parts = [*told, folder / "dataset.json.part"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part, frame in told.items():
                frame.write_parquet(part)
            parts[-1].write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
            for part in parts:
                os.replace(part, part.with_suffix(""))
            if self.users is None:  # those of a dataset that was here before do not belong to this one
                (folder / "users.parquet").unlink(missing_ok=True)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{folder}: cannot be written ({error}); name another folder, or make room") from error
        finally:
            for part in parts:
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
        return folder

    @cached_property
    def hash(self) -> str:
        """16 hex digits over all values of all frames."""
        parts = [_content_hash(f) for f in (self.interactions, self.items, self.users) if f is not None]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    @cached_property
    def events_hash(self) -> str:
        """16 hex digits over who had to do with which item, whatever the order of the rows and all other columns.

        Two datasets with the same digest ask about the same answers, though their ``hash`` may differ.
        """
        return _content_hash(self.interactions.select("user_id", "item_id").sort("user_id", "item_id"))

    @property
    def order(self) -> Literal["position", "timestamp"] | None:
        """The column that orders the events of a user: the published ``position`` where all have one, else the time.

        None: neither is known, and the order of the file is all there is.

        Raises: DataError: some have a time (or a position) and others none, so nobody knows where these belong.
        """
        events = self.interactions
        missing = {c: events[c].null_count() for c in ("position", "timestamp") if c in events.columns}
        for column in ("position", "timestamp"):
            if missing.get(column) == 0:
                return column
        for column, count in reversed(missing.items()):
            if count < len(events):
                raise DataError(
                    f"{self.name}: {count:,} of {len(events):,} interactions have no {column}, so their order is not "
                    "known: fill them in, remove them, or drop the column"
                )
        return None

    def user_columns(self, chosen: Sequence[str] | None = None) -> list[str]:
        """Columns that tell who a user is: the chosen ones, each once, or all but the id.

        Raises: DataError: one that is chosen is not there.
        """
        there = [] if self.users is None else self.users.columns
        for name in chosen or ():
            if self.users is None:
                raise DataError(
                    f"{self.name} has no table of users, so no column {name!r} of it: add one, or choose none"
                )
            if name not in there:
                have = ", ".join(there)
                raise DataError(
                    f"{self.name}: users have no column {name!r}{nearest(name, there)}; choose of those there: {have}"
                )
        return [name for name in there if name != "user_id"] if chosen is None else [*dict.fromkeys(chosen)]

    def with_interactions(self, interactions: pl.DataFrame, note: str) -> Dataset:
        """The same items and users with other interactions; ``note`` joins the list of filters in ``meta``."""
        meta = {**self.meta, "filters": [*self.meta.get("filters", []), note]}
        return Dataset(interactions, self.items, self.users, self.name, meta)

    def __repr__(self) -> str:
        n = self.interactions
        return (
            f"Dataset({self.name!r}: {n['user_id'].n_unique():,} users, {len(self.items):,} items, "
            f"{len(n):,} interactions)"
        )
