"""How common a phrase is in a corpus, so that what is said of everything counts for little.

A phrase found in s of m texts weighs s · ln((s / m) / p), where p is its smoothed share of the corpus's texts: its part
of the log-likelihood ratio of Dunning, "Accurate Methods for the Statistics of Surprise and Coincidence" (Computational
Linguistics 19(1), 1993), https://aclanthology.org/J93-1003. Without a corpus p is one constant, and s decides.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from seqlore.lore.extractive.english import clean, tag
from seqlore.lore.extractive.phrases import findings

#: A larger corpus is represented by so many of its texts, those with the smallest hash: no order matters.
MOST_TEXTS = 100_000
#: Share of texts that an unknown phrase is taken to occur in where there is no corpus.
UNKNOWN = 0.02


@dataclass(frozen=True, eq=False)
class Background:
    """Texts a phrase (sign + key) occurs in, of ``texts`` in all; phrases of one text only are left out."""

    texts: int = 0
    frequency: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Background:
        """Counted over ``texts``; those without a word do not count."""
        keyed = (
            (hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), text) for text in texts if text
        )
        frequency: Counter[str] = Counter()
        counted = 0
        for _, text in heapq.nsmallest(MOST_TEXTS, keyed):
            found = {each.sign + each.key for each in findings(tag(clean(text)))}
            counted += bool(found)
            frequency.update(found)
        return cls(counted, {phrase: n for phrase, n in frequency.items() if n > 1})

    def share(self, sign: str, key: str) -> float:
        """Of the corpus's texts, those with the phrase; in (0, 1). An unseen phrase is as rare as its rarest seen word.

        A word that no other text has, mostly a slip of the pen, tells nothing: it counts as ``UNKNOWN``.
        """
        if not self.texts:
            return UNKNOWN
        seen = self.frequency.get(sign + key)
        if seen is None:
            seen = min((n for word in key.split() if (n := self.frequency.get(word))), default=0)
        return (seen + 0.5) / (self.texts + 1) if seen else UNKNOWN

    def weight(self, sign: str, key: str, support: float, texts: float) -> float:
        """Of a phrase in ``support`` of ``texts`` texts; negative where it is rarer than in the corpus."""
        return support * math.log(min(1.0, support / texts) / self.share(sign, key))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits; equal backgrounds have equal ones. "none" without texts."""
        if not self.texts:
            return "none"
        lines = "\n".join([str(self.texts), *(f"{n} {phrase}" for phrase, n in sorted(self.frequency.items()))])
        return hashlib.sha256(lines.encode("utf-8", "replace")).hexdigest()[:16]
