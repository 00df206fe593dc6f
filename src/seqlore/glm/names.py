"""What items are called in texts: their titles, cut to so many words, or to as few as tell one from another.

Chu et al. 2023 (arXiv 2308.10837) write whole titles; on Beauty these have eleven words and twenty tokens, most of
which come after the ones that tell an item from all others. A name of few tokens is read and learned several times as
often for the same work, and is one canonical form like any other. Ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from seqlore.data import Catalog
from seqlore.language.sessions import short_titles

#: Words of a title that are kept; "distinct" = as few as tell it from others; None = all.
Words = int | Literal["distinct"] | None
#: A name has at least so many words, where the title has: one word alone says little of what a thing is.
LEAST = 3


def short_names(titles: Sequence[str], words: Words) -> list[str]:
    """Titles on one line with single blanks, cut. Titles that are the same keep the same name."""
    split = [title.split() for title in titles]
    if words != "distinct":
        return [" ".join(each[:words]) for each in split]
    lengths = [min(LEAST, len(each)) for each in split]
    while True:
        names = [" ".join(each[:n]) for each, n in zip(split, lengths, strict=True)]
        uses = Counter(names)
        longer = [i for i, name in enumerate(names) if uses[name] > 1 and lengths[i] < len(split[i])]
        if not longer:
            return names
        for i in longer:
            lengths[i] += 1


def item_names(catalog: Catalog, words: Words) -> list[str]:
    """[size], "" for item 0 and for an item without a title. Raises: DataError: no item has a title."""
    return short_names(short_titles(catalog, None), words)
