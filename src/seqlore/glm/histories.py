"""Users and their histories as texts: features, then what they chose, oldest first.

Chu et al. 2023 (arXiv 2308.10837), section "Data Phase": tables are written out, and every attribute's value and every
item is an entity. The wording is ours::

    User: gender female, age 25. Chose Rose Soap, Mint Oil, Argan Balm. Lip Shine, [MASK].

A sentence has three items, so that sentences of a history can be blanked ([sMASK]); a full stop takes no more tokens
than a comma. They are counted and not, say, cut by days: the form of a question must not hang on times, which a service
need not know, or give away the time of what is asked for. Events of several kinds
(:mod:`seqlore.data.readers.behaviours`) have the kind in their titles::

    Has searched rain coat, paid noodles, visited map of town. [MASK].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Catalog, Split
from seqlore.data.catalog import as_text
from seqlore.glm.texts import Blank, Entity, Part, Text

#: Items of a sentence.
SENTENCE = 3
#: What stands between items, within a sentence and between two.
COMMA, STOP = ", ", ". "


def user_texts(split: Split, columns: Sequence[str] | None = None) -> list[Text]:
    """[users + 1], by dense user index: ``User: gender female, age 25.``; () for strangers and users without features.

    Args: columns: of ``users.parquet``; None = all but the id.

    Raises: DataError: there is no such column.
    """
    none: list[Text] = [()] * (len(split.users) + 1)
    frame, names = split.dataset.users, split.dataset.user_columns(columns)
    if frame is None or not names:
        return none
    places = split.users.index_column(frame["user_id"])
    for place, row in zip(places.tolist(), frame.select(names).iter_rows(), strict=True):
        parts: list[Part] = []
        for name, value in zip(names, row, strict=True):
            if text := as_text(value):
                parts += [f"{',' if parts else 'User:'} {name.replace('_', ' ')} ", Entity(text)]
        if parts and place:
            none[place] = (*parts, ". ")
    return none


def lead_of(catalog: Catalog) -> str:
    """The word that a history begins with: titles of typed behaviours are participles."""
    return "Has" if "behaviour" in catalog.items.columns else "Chose"


def history_text(items: Sequence[Entity], blanks: int = 0, lead: str = "Chose") -> list[Part]:
    """``Chose A, B, C. D.``, of which the last ``blanks`` are hidden, each behind a mask of its own.

    Args: lead: the first word, :func:`lead_of` a catalogue.
    """
    parts: list[Part] = [f"{lead} "]
    for i, item in enumerate(items):
        if i:
            parts.append(COMMA if i % SENTENCE else STOP)
        parts.append(Blank((item,)) if i >= len(items) - blanks else item)
    return [*parts, "."]


def question(user: Text, items: Sequence[Entity], lead: str = "Chose") -> Text:
    """``… Chose A, B, [MASK].``: what comes next?"""
    asked = history_text([*items, Entity("")], blanks=1, lead=lead)
    return (*user, *(Blank() if isinstance(p, Blank) else p for p in asked))


def learned_blanks(lengths: NDArray[np.integer], rng: np.random.Generator, rolling: float) -> NDArray[np.int64]:
    """How many of a history's last items are hidden, [n]: one, or, in a share ``rolling`` of them, 1 … all but one.

    All titles of the tail are learned in one pass, each from what stands before it: a blank sees those before it in
    part B, and of those behind it nothing but that they are there.
    """
    many = 1 + np.floor(rng.random(len(lengths)) * np.maximum(lengths - 1, 1)).astype(np.int64)
    return np.where(rng.random(len(lengths)) < rolling, np.minimum(many, np.maximum(lengths - 1, 1)), 1)
