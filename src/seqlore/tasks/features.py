"""What an explanation is: a sentence of the user's own review that praises or blames a feature of the item.

Explanation tasks (PETER: Li, Zhang and Chen, ACL 2021, arXiv 2105.11601; P5) take triples of feature, opinion and
sentence from a tool that is not public in source. Here opinions are those of :mod:`seqlore.lore.extractive.phrases`; a
feature is a noun with an opinion in at least ``least`` reviews of the training part, so that no held-out review decides
which words are features. It stands in the sentence, as the hint words of PETER+ do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import Field

from seqlore.config import Config
from seqlore.lore.extractive.english import Tagged, clean, sentences, stem, tag
from seqlore.lore.extractive.phrases import opinions


class FeatureConfig(Config):
    """Settings of the extractor."""

    least: int = Field(default=3, ge=1, description="Training reviews that must judge a noun.")
    words: tuple[int, int] = Field(default=(3, 30), description="Fewest and most words of a sentence.")


class Explanation(NamedTuple):
    """Attributes: feature: as written in the sentence, in lower case. sentence: of the review, cleaned."""

    feature: str
    sentence: str


class FeatureExtractor:
    """Reviews → explanations.

    Attributes: features: stem of each feature → training reviews with an opinion on it. words: as written there.
    """

    def __init__(self, reviews: Iterable[str], config: FeatureConfig | None = None) -> None:
        """Args: reviews: of the training part only."""
        self.config = config or FeatureConfig()
        counts: Counter[str] = Counter()
        written: set[tuple[str, str]] = set()
        for review in reviews:
            judged = {each for text in sentences(clean(review)) for each in _judged(tag(text))}
            counts.update({s for s, _ in judged})
            written |= judged
        self.features = {word: n for word, n in counts.items() if n >= self.config.least}
        self.words = {shown for s, shown in written if s in self.features}

    def explain(self, review: str) -> Explanation | None:
        """The first sentence with an opinion on a feature; of several features in it the one that most reviews judge.

        None where the review has no such sentence.
        """
        fewest, most = self.config.words
        for sentence in sentences(clean(review)):
            if not fewest <= len(sentence.split()) <= most:
                continue
            found = [(self.features[s], shown) for s, shown in _judged(tag(sentence)) if s in self.features]
            if found:
                return Explanation(max(found)[1], sentence)
        return None


def _judged(tagged: Tagged) -> Iterable[tuple[str, str]]:
    """(stem, word in lower case) of each noun that is praised or blamed."""
    for opinion in opinions(tagged):
        for word, kind in zip(tagged.words, tagged.kinds, strict=True):
            if kind == "n" and stem(word) == opinion.aspect:
                yield opinion.aspect, word
                break
