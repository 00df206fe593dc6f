"""Pseudo-labels as data: what users and items are like, in words, in several wordings each.

Na et al., Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423, sections 2.1 and 3.3. A label set is a frame
with the columns ``kind`` ("item" or "user"), ``id``, ``version``, ``text``; how it was made does not matter here. The
controls of Table 4 are functions from label sets to label sets, so that every arm trains on as many labels.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl
from pydantic import Field, field_validator, model_validator

from seqlore.config import Config
from seqlore.data import Split, Vocabulary
from seqlore.errors import DataError
from seqlore.lore import Lore, LoreSettings, LoreStore, language_model, load_lore, make_lore
from seqlore.lore.material import known_texts
from seqlore.lore.prompts import Task
from seqlore.lore.rows import labelled, refuse_nulls, typed
from seqlore.text.cache import file_digest

Kind = Literal["item", "user"]
KINDS: tuple[Kind, ...] = get_args(Kind)
COLUMNS = {"kind": pl.String, "id": pl.String, "version": pl.Int64, "text": pl.String}


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Labels of items and users.

    Attributes: frame: kind, id, version, text; one row a label and wording, sorted by the first three.
    """

    frame: pl.DataFrame

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, what: str = "labels") -> LabelSet:
        """Check and conform; rows without text are dropped, a missing ``version`` column means one wording each.

        Args: what: the file, say, for messages.

        Raises: DataError: see :func:`labelled`; or no label is left.
        """
        if "version" not in frame.columns:
            frame = frame.with_columns(version=pl.lit(0))
        frame = labelled(frame, what, COLUMNS).sort("kind", "id", "version")
        if frame.is_empty():
            raise DataError(f"{what}: there is no label with text in it; make some with `seqlore lore make`")
        return cls(frame)

    def __len__(self) -> int:
        """Wordings of all labels."""
        return len(self.frame)

    @cached_property
    def hash(self) -> str:
        """16 hex digits over the content."""
        return hashlib.sha256(self.frame.write_json().encode()).hexdigest()[:16]

    def of(self, kind: Kind) -> LabelSet:
        """The labels of one kind, possibly none."""
        return LabelSet(self.frame.filter(pl.col("kind") == kind))

    def wordings(self, kind: Kind, vocabulary: Vocabulary) -> list[tuple[str, ...]]:
        """The wordings of each id, [vocabulary.size]; () where there is no label, and for index 0."""
        out: list[tuple[str, ...]] = [()] * vocabulary.size
        grouped = self.of(kind).frame.group_by("id", maintain_order=True).agg("text")
        for index, texts in zip(vocabulary.index(grouped["id"]), grouped["text"].to_list(), strict=True):
            out[index] = tuple(texts)
        out[0] = ()
        return out

    def replaced(self, kind: Kind, by: LabelSet) -> LabelSet:
        """This set with the labels of one kind taken from ``by``."""
        other = self.frame.filter(pl.col("kind") != kind)
        return LabelSet(pl.concat([other, by.of(kind).frame]).sort("kind", "id", "version"))

    def shuffled(self, seed: int) -> LabelSet:
        """Every id bears the label of another of its kind: all texts stay, and nothing that they say is true."""
        parts = []
        for kind in KINDS:
            ids = self.of(kind).frame["id"].unique(maintain_order=True)
            order = np.random.default_rng((seed, KINDS.index(kind))).permutation(len(ids))
            moved = pl.DataFrame({"id": ids.gather(order), "to": ids.gather(np.roll(order, 1))})
            parts.append(_renamed(self.of(kind).frame, moved))
        return LabelSet(pl.concat(parts).sort("kind", "id", "version"))

    def switched(self, foreign: LabelSet, seed: int, kinds: Sequence[Kind] = KINDS) -> LabelSet:
        """Every id bears a label of another dataset (Table 4); where that has fewer, its labels serve several ids.

        As much text stays to be learned: an id keeps its number of wordings, and each its number of words, to which the
        foreign text is cut, or lengthened by the next one. Where the foreign label has fewer wordings, they come again
        with their sentences in another order.

        Args: kinds: of which labels are switched; those of others are left out.

        Raises: DataError: the foreign set has no label of a kind that this one has.
        """
        rows: list[tuple[str, str, int, str]] = []
        for kind in kinds:
            frame = self.of(kind).frame
            theirs = foreign.of(kind).frame.group_by("id", maintain_order=True).agg("text")["text"].to_list()
            if len(frame) and not theirs:
                raise DataError(f"the foreign label set has no {kind} labels to switch with; name another")
            drawn = np.random.default_rng((seed, KINDS.index(kind))).permutation(len(theirs))
            own = frame.group_by("id", maintain_order=True).agg("version", "text").iter_rows()
            for at, (id, versions, texts) in enumerate(own):
                for number, (version, text) in enumerate(zip(versions, texts, strict=True)):
                    length, words, step = len(text.split()), list[str](), at
                    while len(words) < length:
                        words += _worded(theirs[drawn[step % len(drawn)]], number)
                        step += 1
                    rows.append((kind, id, version, " ".join(words[:length])))
        return LabelSet(pl.DataFrame(rows, schema=COLUMNS, orient="row").sort("kind", "id", "version"))


def _worded(texts: Sequence[str], number: int) -> list[str]:
    """Words of a label's wording ``number``; past the last, of an earlier one with its sentences moved round."""
    sentences = re.split(r"(?<=[.!?])\s+", texts[number % len(texts)].strip())
    first = number // len(texts) % len(sentences)
    return " ".join([*sentences[first:], *sentences[:first]]).split()


def _renamed(frame: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """Rows of ``frame`` under the ids ``to`` of ``moved`` (id, to); an id may go to several."""
    joined = frame.join(moved, on="id", how="inner")
    return joined.select("kind", pl.col("to").alias("id"), "version", "text")


def from_summaries(frame: pl.DataFrame, what: str = "explanations") -> LabelSet:
    """Labels out of the explanations of XRec (Ma, Ren & Huang, Findings of EMNLP 2024): ``user_summary`` and
    ``item_summary`` of ``user_id`` and ``item_id``, prefixed by the ``domain``; the first of each that has text counts.

    Args: what: the file, say, for messages.

    Raises: DataError: a column is missing or of another type, a domain or id is null, or there is no summary.
    """
    ids = ("domain", *(f"{kind}_id" for kind in KINDS))
    frame = typed(frame, what, dict.fromkeys((*ids, *(f"{kind}_summary" for kind in KINDS)), pl.String))
    refuse_nulls(frame, what, ids)
    parts = [
        frame.select(
            kind=pl.lit(kind), id=pl.col("domain") + "-" + pl.col(f"{kind}_id"), text=pl.col(f"{kind}_summary")
        )
        .filter(pl.col("text").str.strip_chars().str.len_chars() > 0)
        .unique("id", keep="first", maintain_order=True)
        for kind in KINDS
    ]
    return LabelSet.from_frame(pl.concat(parts), what)


def mark_names(text: str, names: Mapping[str, int | str]) -> list[str | int]:
    """Cut a label at the names of catalogue items.

    The rule: a name is the whole title of an item, of two words or more, in any case, standing as words of its own;
    where several fit at one place, the longest. A word of a title, or a title of one word ("Soap"), is left alone, for
    it may mean the thing and not the product.

    Args: names: lower-cased title → item index, or the words to stand in its place ("this item").

    Returns: the text in order, words as strings and items as their index.
    """
    known = {name: value for name, value in names.items() if len(name.split()) >= 2}
    if not known:
        return [text]
    pattern = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    out: list[str | int] = []
    for i, piece in enumerate(re.split(rf"(?<!\w)({pattern})(?!\w)", text, flags=re.IGNORECASE)):
        # Letters that the pattern takes for one another (the micro sign and the Greek mu) lower() may keep apart.
        value = known.get(piece.lower(), piece) if i % 2 else piece
        if isinstance(value, str) and out and isinstance(out[-1], str):
            out[-1] += value
        elif value != "":
            out.append(value)
    return out


Control = Literal["own", "shuffled", "foreign"]
#: Settings of a :class:`LabelSource` that say how labels are made, where none are handed over in files.
MADE = ("model", "item_task", "user_task", "profiles", "lore", "store")


class LabelSource(Config):
    """Where labels come from, and what is done to them on purpose."""

    files: tuple[str, ...] = Field(
        default=(), description="Files that `seqlore lore make` wrote for this split; ${NAME} and ~ are filled in."
    )
    model: str = Field(default="extractive", description="Without files: the language model that writes the labels.")
    item_task: Literal["auto", "item-label", "item-knowledge", "item-attributes"] = Field(
        default="auto",
        description="What the model is asked about items; auto = a label where there are reviews, else knowledge.",
    )
    user_task: Literal["auto", "user-label", "user-preference"] = Field(
        default="auto", description="… about users; auto = a label where there are reviews, else the preference."
    )
    profiles: bool = Field(
        default=False, description="The items' labels stand beside the reviews that a user's is made from."
    )
    lore: LoreSettings = Field(
        default=LoreSettings(versions=3, denoise=True),
        description="denoise = false gives the one-stage labels of Table 5.",
    )
    store: str | None = Field(default=None, description="The lore store; None = the one in the cache folder.")
    items: Control = Field(
        default="own", description="Items bear their own labels, each other's, or those of another dataset."
    )
    users: Control = Field(default="own", description="… and users.")
    foreign: tuple[str, ...] = Field(
        default=(), description="Label files of another dataset, or one; explanations of XRec can serve."
    )
    leaky: bool = Field(
        default=False, description="Diagnostic: labels know the held-out reviews too. Never for a result."
    )

    @field_validator("files", "foreign", mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else () if given is None else given

    @model_validator(mode="after")
    def _foreign_is_named(self) -> LabelSource:
        if "foreign" in (self.items, self.users) and not self.foreign:
            raise ValueError("foreign: name the label file whose labels items or users shall bear")
        if self.foreign and "foreign" not in (self.items, self.users):
            raise ValueError('foreign is named and nobody bears its labels: set items or users = "foreign", or drop it')
        idle = [name for name in MADE if getattr(self, name) != type(self).model_fields[name].default]
        if self.files and idle:
            raise ValueError(f"{', '.join(idle)}: of labels that are made, and files has some: drop one or the other")
        return self

    def read(self, split: Split, seed: int = 0, kinds: Sequence[Kind] = KINDS) -> LabelSet:
        """The labels for a split, of ``kinds``, made where they are not there yet.

        Raises: DataError: a file is missing, is about another dataset, or was written from what ``split`` holds out
            (unless ``leaky``, and then a file that knows less is refused). ConfigError: no such language model.
        """
        known = split.with_everything() if self.leaky else split
        if self.files:
            lore = {file: load_lore(_path(file), known) for file in self.files}
            if self.leaky:
                _check_leaky(lore)
            frames = [each.frame for each in lore.values()]
        else:
            frames = self._made(known, kinds)
        frame = pl.concat(frames)
        labels = LabelSet.from_frame(frame.filter(pl.col("kind").is_in(kinds)), ", ".join(self.files) or "labels")
        controls: tuple[tuple[Kind, Control], ...] = (("item", self.items), ("user", self.users))
        for kind, control in controls:
            if kind in kinds and control == "shuffled":
                labels = labels.replaced(kind, labels.shuffled(seed))
            elif kind in kinds and control == "foreign":
                foreign = pl.concat([read_labels(_path(file)).frame for file in self.foreign])
                other = LabelSet.from_frame(foreign, ", ".join(self.foreign))
                labels = labels.replaced(kind, labels.switched(other, seed, (kind,)))
        return labels

    def digests(self) -> list[str]:
        """Of the files that are read. Raises: DataError: one is not there."""
        paths = [_path(name) for name in (*self.files, *self.foreign)]
        for path in paths:
            if not path.is_file():
                raise DataError(f"{path}: no such file of labels")
        return [file_digest(path) for path in paths]

    def _made(self, split: Split, kinds: Sequence[Kind]) -> list[pl.DataFrame]:
        events = split.dataset.interactions
        reviewed = any(column in events.columns and events[column].count() for column in ("review", "summary"))
        item_task: Task = self.item_task if self.item_task != "auto" else "item-label" if reviewed else "item-knowledge"
        user_task: Task = (
            self.user_task if self.user_task != "auto" else "user-label" if reviewed else "user-preference"
        )

        def made(task: Task, profiles: Lore | None = None) -> Lore:
            model = language_model(self.model, texts=lambda: known_texts(split, task))
            return make_lore(split, task, model, store, self.lore, profiles=profiles)

        with LoreStore(None if self.store is None else _path(self.store)) as store:
            users = "user" in kinds
            found = [made(item_task)] if "item" in kinds or (users and self.profiles) else []
            if users:
                found.append(made(user_task, found[0] if self.profiles else None))
        return [each.frame for each in found]


def _check_leaky(lore: Mapping[str, Lore]) -> None:
    """Raises: DataError: a file was written without the held-out reviews, so that it would pass for a leaky one."""
    parts = {file: each.about["training"] for file, each in lore.items()}
    knows = {
        file: part is not None and json.loads(part).get("fitted_on") == "everything" for file, part in parts.items()
    }
    blind = [file for file in parts if not knows[file] and (parts[file] is not None or not any(knows.values()))]
    if blind:
        raise DataError(
            f"{blind[0]}: leaky = true, and these labels were made without the held-out reviews; leave files out, so "
            "that leaky ones are made, or leave leaky out"
        )


def read_labels(path: Path) -> LabelSet:
    """A label set from a Parquet file, whatever dataset it is about; explanations of XRec become labels.

    Raises: DataError: no such file, or no labels in it.
    """
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: not a readable Parquet file of labels ({type(error).__name__})") from error
    made = from_summaries if "user_summary" in frame.columns else LabelSet.from_frame
    return made(frame, str(path))


def _path(name: str) -> Path:
    return Path(os.path.expandvars(name)).expanduser()
