"""The texts of a split as documents: what a small language model of the data's own may read.

Only what may be known at training time: texts of the catalogue's items, and reviews and sequences of the *training*
interactions. A review of a held-out interaction is never read: reviews are taken through ``Split.train.rows`` alone.

Sequences are rendered in the session format of Harte et al., "Leveraging Large Language Models for Sequential
Recommendation", RecSys 2023 (DOI 10.1145/3604915.3610639), figure 1, marks included, as one document each.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from seqlore.config import Config
from seqlore.data import Split
from seqlore.data.catalog import as_text
from seqlore.errors import DataError
from seqlore.lore.book import check_training
from seqlore.text.encodable import encodable
from seqlore.training.batches import windows

#: Text columns of items that are read unless others are named.
ITEM_FIELDS = ("title", "brand", "categories", "description")
#: What of an interaction is text.
REVIEW_FIELDS = ("summary", "review")


class CorpusConfig(Config):
    """Which texts of a split are read."""

    items: bool = Field(default=True, description="Texts of the catalogue's items.")
    fields: tuple[str, ...] | None = Field(
        default=None,
        description="Columns of the items; None = those of title, brand, categories, description that are there.",
    )
    reviews: bool = Field(default=True, description="Summaries and reviews of the training interactions.")
    sequences: bool = Field(
        default=False, description="Also the training sequences as lists of titles: a good start for prompt models."
    )
    window: int = Field(default=20, ge=2, description="Longest list of titles; longer sequences become several lists.")


@dataclass(frozen=True)
class Corpus:
    """Documents of one kind.

    Attributes:
        name: for reports, say "beauty: reviews". documents: the texts, all different and :func:`encodable`.
        weight: how often each is read in a pass, on average. source: where it is from, for the model card.
    """

    name: str
    documents: tuple[str, ...]
    weight: float = 1.0
    source: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise DataError(f"corpus {self.name!r}: weight {self.weight} is not positive; leave the corpus out instead")
        object.__setattr__(self, "documents", tuple(dict.fromkeys(encodable(d) for d in self.documents if d.strip())))

    @property
    def digest(self) -> str:
        """16 hex digits over documents and weight."""
        digest = hashlib.sha256(str(self.weight).encode())
        for document in self.documents:
            digest.update(document.encode() + b"\0")
        return digest.hexdigest()[:16]


def read_split(split: Split, config: CorpusConfig | None = None, weight: float = 1.0) -> list[Corpus]:
    """The corpora of a split's training part, one a kind: items, reviews, sequences; kinds without text are left out.

    Raises: DataError: there is no text at all, or a field is not a column of the items.
    """
    config = config or CorpusConfig()
    readers = {"items": item_documents, "reviews": review_documents, "sequences": sequence_documents}
    found = []
    for kind, reader in readers.items():
        documents = tuple(reader(split, config)) if getattr(config, kind) else ()
        source = {"dataset": split.dataset.name, "hash": split.dataset.hash, "split": dict(split.how), "kind": kind}
        corpus = Corpus(f"{split.dataset.name}: {kind}", documents, weight, source)
        found += [corpus] if corpus.documents else []
    if not found:
        asked = ", ".join(kind for kind in readers if getattr(config, kind)) or "nothing"
        raise DataError(f"{split.dataset.name}: there is no text to learn from (asked for: {asked})")
    return found


def item_documents(split: Split, config: CorpusConfig) -> Iterator[str]:
    """One document an item: ``Title: …``, ``Brand: …``, a line a field that is not empty."""
    catalog = split.catalog
    fields = config.fields
    if fields is None:
        fields = tuple(f for f in ITEM_FIELDS if f in catalog.items.columns)
    columns = [catalog.texts((name,)) for name in fields]  # an error names a field that does not exist
    labels = [name.replace("_", " ").capitalize() for name in fields]
    for values in zip(*columns, strict=True):
        yield "\n".join(f"{label}: {value}" for label, value in zip(labels, values, strict=True) if value)


def review_documents(split: Split, config: CorpusConfig) -> Iterator[str]:
    """One document a training interaction that has words: its summary on the first line, then its review."""
    events, rows = split.dataset.interactions, split.train.rows
    columns = [name for name in REVIEW_FIELDS if name in events.columns]
    if rows is None or not columns:
        return
    for values in events.select(columns)[rows].iter_rows():
        yield "\n".join(text for value in values if (text := as_text(value)))


def sequence_documents(split: Split, config: CorpusConfig) -> Iterator[str]:
    """One document a list of two titles or more; items without a title are left out, as in the format."""
    if "title" not in split.catalog.items.columns:
        return
    titles = ["", *(_one_line(as_text(t)) for t in split.catalog.items["title"].to_list())]
    for items in windows(split.train, config.window):
        named = [title for i in items.tolist() if (title := titles[i])]
        if len(named) >= 2:
            yield session_document(named)


def session_document(titles: Iterable[str]) -> str:
    """``"1. A\\n2. B\\n\\n###\\n C ###"``: prompt and completion of one session."""
    *told, last = titles
    return "\n".join(f"{n}. {title}" for n, title in enumerate(told, start=1)) + f"\n\n###\n {last} ###"


def _one_line(title: str) -> str:
    return re.sub("#{3,}", "##", " ".join(title.split()))  # the mark must not occur within a title


#: A setting of what is tuned from a base model, see :func:`check_corpora`.
AnyCorpus = Annotated[
    bool,
    Field(
        exclude_if=lambda any_corpus: not any_corpus,
        description="Take a base model that was pretrained here on another dataset, or on more than a split trains on.",
    ),
]


def check_corpora(folder: Path, split: Split, what: str, unless: str) -> None:
    """A language model that was pretrained here says what it read (``pretraining.json`` in its folder); others, from a
    hub, cannot be asked.

    Args: what: whose it is, the beginning of the message. unless: the setting by which it is taken all the same.

    Raises: DataError: it read another dataset, or texts that ``split`` holds out.
    """
    path = folder / "pretraining.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"{path}: not readable ({error}); pretrain the model again") from error
    for corpus in told.get("corpora", ()):
        if "hash" in corpus:  # a text file of one's own has none
            told_of = None if corpus.get("kind") == "items" else corpus.get("split")  # texts of items hold no event
            training = None if told_of is None else json.dumps(told_of, sort_keys=True)
            try:
                check_training({"dataset": corpus["hash"], "training": training}, split, what)
            except DataError as error:
                raise DataError(
                    f"{error}: pretrain it on this dataset with this split (`seqlore lore pretrain`), or, if that is "
                    f"meant, set {unless} = true"
                ) from None
