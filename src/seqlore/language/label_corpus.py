"""Labels as documents, so that a small language model knows the language in which ids will be described.

Not in Na et al., Findings of EMNLP 2024, whose Llama-2-7b knows English. A small model of the shop's own has never seen
a label, and an id's vector is then spent on what all labels share (docs/papers/na2024.md has the figures). A document
bears an item's title where ReLRec will set its id, and what the item is called has become "this item" as it will be
there; of users, and of other datasets, there is the text alone. No document holds an id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from seqlore.data import Split
from seqlore.language.label_rows import OWN_NAME
from seqlore.language.labels import LabelSet, mark_names, read_labels
from seqlore.lore.book import check_training
from seqlore.lore.corpus import Corpus


def read_label_corpus(path: Path, splits: Sequence[Split]) -> Corpus:
    """The texts of a label file.

    Args: path: what `seqlore lore make` wrote for one of ``splits``, or labels of another dataset (see
        :func:`read_labels`), which become texts without a subject. Lore says where it is from, so
        that a body that read it is checked; other files cannot be asked.

    Raises: DataError: not a file of labels, or it was written from what its split holds out.
    """
    labels = read_labels(path)
    told = pl.read_parquet_metadata(path).get("seqlore")
    source: dict[str, Any] = {"file": path.name, "kind": "labels"}
    if told is None:
        return Corpus(path.name, tuple(labels.frame["text"]), source=source)
    about = json.loads(told)
    read = about["training"]
    source |= {"hash": about["dataset"], "split": None if read is None else json.loads(read)}
    for split in splits:
        if about["dataset"] == split.dataset.hash:
            check_training(about, split, str(path))
            source["dataset"] = split.dataset.name
            return Corpus(f"{split.dataset.name}: {path.name}", tuple(label_documents(labels, split)), source=source)
    return Corpus(path.name, tuple(labels.frame["text"]), source=source)


def label_documents(labels: LabelSet, split: Split) -> Iterator[str]:
    """One document a label and wording: ``Title: text`` of items that have a title, the text of others."""
    named = zip(split.catalog.ids, split.catalog.titles, strict=True)
    titles = {id: title for id, title in named if title != id}  # an item without a title has its id for one
    for kind, id, _, text in labels.frame.iter_rows():
        title = titles.get(id) if kind == "item" else None
        said = mark_names(text, {title.lower(): OWN_NAME}) if title else [text]
        yield f"{title}: {''.join(map(str, said))}" if title else text
