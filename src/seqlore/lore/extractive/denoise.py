"""Noise removal: which phrases and sentences of a label are dropped.

The second stage of label making in ReLRec (its Table 5 compares one stage with two), done by rule. Dropped is

* talk of price, shipping, and the story of a purchase;
* what the reviews at hand do not support: each word of a phrase about an item must occur in two of them, where there
  are at least three; of a phrase about a user, in one; of a sentence of another origin, half of the words;
* what is hardly more frequent in these reviews than in the background (``LIFT``);
* what repeats something kept before.

If nothing would be left, the first phrase stays: a label is never emptied.
"""

from __future__ import annotations

from collections import Counter

from seqlore.lore.extractive.background import Background
from seqlore.lore.extractive.english import clean, kind_of, stem, tables, tag
from seqlore.lore.extractive.wording import VERBATIM, Statement, read
from seqlore.lore.model import Prompt

#: How many times as frequent a phrase must be in the reviews at hand as in the background.
LIFT = 1.5
#: Of a sentence's content words, the share that must be supported, and the share below which chatter must stay.
SUPPORTED, CHATTER = 0.5, 0.4
#: Reviews below which one that supports a phrase is enough.
FEW = 3

#: Kinds of statements whose phrases are looked at, with the sign of the phrases; the others are facts of the catalogue.
_SIGNS = {
    "mentions": "", "likes": "+", "dislikes": "-", "terms": "",
    "user_items": "", "user_mentions": "", "user_likes": "+", "user_dislikes": "-",
}  # fmt: skip
_LITTLE = frozenset({"not", "does", "doe", "to", "too", "no", "a", "an"})


def denoise(prompt: Prompt, background: Background) -> list[Statement]:
    """label, reviews, title → the statements of the label that say something of the item or user."""
    statements = read(next(iter(prompt.fact("label")), ""))
    filter_ = _Filter(prompt, background)
    kept = [less for each in statements if (less := filter_.pass_(each)) is not None]
    if not kept and statements:
        kind, phrases = statements[0]
        kept = [Statement(kind, phrases[:1])]
    return kept


class _Filter:
    """Lets statements through, one after the other, and remembers what they said."""

    def __init__(self, prompt: Prompt, background: Background) -> None:
        self.background = background
        self.reviews = [_words(text) for text in prompt.fact("reviews")]
        self.titles = frozenset(word for text in prompt.fact("title") for word in _words(text))
        self.held = Counter(word for words in self.reviews for word in words)  # word → reviews with it
        self.said: list[frozenset[str]] = []

    def pass_(self, statement: Statement) -> Statement | None:
        kind, phrases = statement
        if kind == VERBATIM:
            return statement if self._sentence(phrases[0]) else None
        if kind not in _SIGNS:
            return statement
        kept = tuple(each for each in phrases if self._phrase(kind, each))
        return Statement(kind, kept) if kept else None

    def _phrase(self, kind: str, phrase: str) -> bool:
        words = _words(phrase)
        enough = 2 if len(self.reviews) >= FEW and not kind.startswith("user_") else 1
        telling = (
            not _is_chatter(words)
            and not any(words <= other for other in self.said)
            and (not self.reviews or all(self.held[word] >= enough for word in words - self.titles - _LITTLE))
            and self._typical(_SIGNS[kind], phrase)
        )
        if telling:
            self.said.append(words)
        return telling

    def _typical(self, sign: str, phrase: str) -> bool:
        if not self.background.texts or not self.reviews:
            return True
        stems = [stem(word) for word in tag(phrase).words]
        support = sum(set(stems) <= review for review in self.reviews)
        return max(1, support) / len(self.reviews) >= LIFT * self.background.share(sign, " ".join(stems))

    def _sentence(self, sentence: str) -> bool:
        tagged = tag(clean(sentence))
        words = frozenset(stem(w) for w, kind in zip(tagged.words, tagged.kinds, strict=True) if kind in "naqpbg")
        if not words or words in self.said:
            return False
        known = sum(word in self.held or word in self.titles for word in words)
        chatter = sum(_is_chatter(frozenset({word})) for word in words)
        if chatter > CHATTER * len(words) or (self.reviews and known < SUPPORTED * len(words)):
            return False
        self.said.append(words)
        return True


def _words(text: str) -> frozenset[str]:
    return frozenset(map(stem, tag(clean(text)).words))


def _is_chatter(words: frozenset[str]) -> bool:
    """Whether nothing is named but prices, shipping and the like: "great price", "good quality"."""
    chatter, vague = tables()["chatter"], tables()["vague"]
    return all(word in chatter or word in vague or kind_of(word) not in "na" for word in words)
