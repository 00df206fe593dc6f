"""Item titles, found by what somebody typed: some of the words, in any order, with typing errors.

Each typed word is met by the words of the catalogue that begin with it or resemble it (Ratcliff & Obershelp's ratio,
from the standard library's difflib). A title's share is that of the typed words which it holds, weighted by how rare
they are (inverse document frequency) and how alike they look; of two titles with one share, the shorter comes first.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqlore.data.catalog import Catalog
from seqlore.errors import DataError

#: Share of what was typed below which a title is no match.
ENOUGH = 0.6
#: Least likeness of two words, and the likeness of a word to its beginning.
ALIKE, BEGINS = 0.75, 0.9


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", re.sub(r"['’]", "", text.casefold()))


class TitleIndex:
    """Looks titles up in a catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._folded = [title.casefold() for title in catalog.titles]
        holders: dict[str, list[int]] = defaultdict(list)
        self._lengths = np.zeros(len(catalog), np.int64)
        for i, title in enumerate(self._folded):
            words = set(_words(title))
            self._lengths[i] = len(words)
            for word in words:
                holders[word].append(i)
        self._holders = {word: np.asarray(rows) for word, rows in holders.items()}
        self._by_initial: dict[str, list[str]] = defaultdict(list)
        for word in self._holders:
            self._by_initial[word[0]].append(word)

    def search(self, query: str, k: int = 5) -> list[tuple[int, float]]:
        """The k best (dense index, share found), best first; titles that share nothing are left out."""
        found, total = np.zeros(len(self.catalog)), 0.0
        for typed in set(_words(query)):
            likeness = self._alike(typed)
            closest = max(likeness, key=likeness.__getitem__, default=None)
            weight = math.log(1 + len(self.catalog) / (1 + len(self._holders.get(closest or "", ()))))
            held: NDArray[np.float64] = np.zeros(len(self.catalog))
            for word, like in likeness.items():
                rows = self._holders[word]
                held[rows] = np.maximum(held[rows], like)
            found += weight * held
            total += weight
        found /= total or 1.0
        whole = " ".join(query.split()).casefold()
        if whole:  # scripts that put no blanks between words are met by this alone
            found[[i for i, title in enumerate(self._folded) if whole in title]] = 1.0
        best = np.lexsort((self._lengths, -found.round(2)))[:k]
        return [(int(i) + 1, float(found[i])) for i in best if found[i] > 0]

    def _alike(self, typed: str) -> dict[str, float]:
        """Words of the catalogue with the same first letter → how alike they are, if enough."""
        known = self._by_initial.get(typed[0], [])
        likeness = {word: BEGINS for word in known if len(typed) >= 3 and word.startswith(typed)}
        for word in difflib.get_close_matches(typed, known, n=8, cutoff=ALIKE):
            ratio = difflib.SequenceMatcher(a=typed, b=word).ratio()
            likeness[word] = max(likeness.get(word, 0.0), ratio)
        return likeness

    def find(self, queries: Sequence[str]) -> list[int]:
        """The dense index that each query means.

        Raises: DataError: nothing resembles a query enough; names what comes nearest.
        """
        chosen = []
        for query in queries:
            best = self.search(query, k=3)
            if not best or best[0][1] < ENOUGH:
                near = "; ".join(repr(self.catalog.titles[i - 1]) for i, _ in best)
                raise DataError(f"no title resembles {query!r}" + (f"; the nearest are {near}" if near else ""))
            chosen.append(best[0][0])
        return chosen
