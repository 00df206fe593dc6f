"""``Lore``: the texts of one task, as other rooms read them, in a Parquet file.

Columns of the file: ``kind`` ("item" or "user"), ``id`` (external), ``version`` (0 = the text itself; 1, 2, … = the
same in other words), ``text``. How it was made stands in the file's metadata under ``seqlore``, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from seqlore.data import Split
from seqlore.data.catalog import Vocabulary
from seqlore.errors import DataError
from seqlore.lore.rows import labelled

COLUMNS = {"kind": pl.String, "id": pl.String, "version": pl.Int32, "text": pl.String}
#: What a split may have been fitted on, each a part of the next.
PARTS = ("train", "train+valid", "everything")


def training_part(split: Split) -> str:
    """How the training part of ``split`` came about: equal for equal training parts of one dataset."""
    return json.dumps(split.how, sort_keys=True, default=str)


@dataclass(frozen=True, eq=False)
class Lore:
    """Texts about items or users.

    Attributes:
        frame: kind, id, version, text: one row a text; no empty ones.
        about: task, model, prompt sets, settings, dataset hash, training part (None = no interaction was read); how
            many were asked for, of these fresh, with what cost; how many answers of all were cut at max_tokens.
        items, users: the vocabularies that texts are aligned to.
    """

    frame: pl.DataFrame
    about: dict[str, Any]
    items: Vocabulary
    users: Vocabulary
    _texts: dict[tuple[str, int], list[str]] = field(default_factory=dict, repr=False)

    def texts(self, kind: str, version: int = 0) -> list[str]:
        """Texts in index order (that of item or user 1 first), [n]; "" where there is none. Do not change the list.

        Raises: DataError: there are none of that kind or version.
        """
        if (kind, version) not in self._texts:
            rows = self.frame.filter(kind=kind, version=version)
            if rows.is_empty():
                have = self.frame.select("kind", "version").unique(maintain_order=True).rows()
                raise DataError(
                    f"this lore has no version {version} about kind {kind!r}: it has "
                    + (", ".join(f"{k} {v}" for k, v in have) or "no texts at all")
                )
            known = dict(rows.select("id", "text").iter_rows())
            ids = (self.items if kind == "item" else self.users).ids
            self._texts[kind, version] = [known.get(id, "") for id in ids]
        return self._texts[kind, version]

    def versions(self, kind: str) -> int:
        """How many wordings there are of each text, 0 where there is no text of that kind."""
        rows = self.frame.filter(kind=kind)
        return 0 if rows.is_empty() else int(rows["version"].max()) + 1  # type: ignore[arg-type]

    def save(self, path: str | Path) -> Path:
        """Write the Parquet file (and its folder, where absent); returns its path."""
        path = Path(path)
        unfinished = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.frame.write_parquet(unfinished, metadata={"seqlore": json.dumps(self.about)})
            unfinished.replace(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}); name another file") from error
        return path


def load_lore(path: str | Path, split: Split) -> Lore:
    """The lore in ``path``, for use with ``split``.

    Raises: DataError: the file is missing or no lore, see also :func:`labelled`; it is about another dataset; or it was
        written from interactions that ``split`` holds out.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; `seqlore lore make` writes one")
    try:
        about = json.loads(pl.read_parquet_metadata(path)["seqlore"])
        if not isinstance(about["dataset"], str) or (about["training"] is not None and not _how(about["training"])):
            raise ValueError
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of lore; write one with `seqlore lore make`") from error
    frame = labelled(frame, str(path), COLUMNS)
    check_training(about, split, str(path))
    return Lore(frame, about, split.catalog, split.users)


def check_training(about: Mapping[str, Any], split: Split, what: str) -> None:
    """Raises: DataError: lore with this ``about`` is of another dataset than ``split``, or knows what it holds out."""
    if about["dataset"] != split.dataset.hash:
        raise DataError(
            f"{what}: is about dataset {about['dataset']}, and {split.dataset.name} is {split.dataset.hash}; "
            "make it again from this one"
        )
    if about["training"] is not None and not _within(about["training"], training_part(split)):
        raise DataError(
            f"{what}: was written from another training part ({about['training']}), which may hold what this split "
            f"({training_part(split)}) keeps back; make it again with this split"
        )


def _within(there: str, here: str) -> bool:
    """Whether the training part ``there`` is that of ``here`` or, of the same split, a smaller one."""
    (its, used), (mine, allowed) = _how(there), _how(here)
    return its == mine and used <= allowed


def _how(training: str) -> tuple[dict[str, Any], int]:
    """(how a training part was split off, which of PARTS it is). Raises: ValueError, TypeError: it does not say."""
    how = dict(json.loads(training))
    return how, PARTS.index(how.pop("fitted_on", "train"))
