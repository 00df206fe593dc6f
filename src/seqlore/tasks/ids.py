"""Users and items as ids, and their tokens, for P5 (Geng et al., RecSys 2022, arXiv 2203.13366).

``random``: digits that say nothing; ``token``: a token of each user's and item's own; ``published``: numbers in the
order in which items occur when the users' whole sequences are read one after another, as the published files have them.
These leak: the held-out item of a user who brought the last new ones is the next number, so such a row is no result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from seqlore.data import Split
from seqlore.glm.texts import Entity
from seqlore.tasks.naming import Ids
from seqlore.tasks.prompts import Words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IdScheme = Literal["random", "token", "published"]
#: Padding, end of text; the decoder starts from padding, as in T5.
PAD, END = 0, 1
_WORD = re.compile(r"\s*\S+")
_ID = re.compile(r"(user|item)_(\d+)")


def numbers(split: Split, scheme: IdScheme, seed: int = 0) -> Ids:
    """The number of each user and item. "published" reads held-out events too: that is its leak."""
    users, items = split.users.size, split.catalog.size
    if scheme != "published":
        rng = np.random.default_rng(seed)
        return Ids(*([0, *(1 + rng.permutation(n - 1)).tolist()] for n in (items, users)))
    whole = split.train if split.test is None else split.test.joined()
    order = np.argsort(whole.users, kind="stable")
    events = split.catalog.index_column(split.dataset.interactions["item_id"])
    read = np.concatenate([whole.take(order).items, events])  # then what no test sequence has
    first = np.unique(read, return_index=True)
    mine = np.zeros(items, np.int64)
    mine[first[0][np.argsort(first[1])]] = np.arange(1, len(first[0]) + 1)
    rest = np.flatnonzero(mine[1:] == 0) + 1  # items without any event
    mine[rest] = np.arange(len(first[0]) + 1, items)
    return Ids(mine.tolist(), list(range(users)))


class Tokens(NamedTuple):
    """Attributes: ids, words: of equal length; the second the number of the word from 1, for embeddings."""

    ids: list[int]
    words: list[int]


class P5Tokenizer:
    """Words by a tokenizer of the training texts, ids by tokens of their own.

    Attributes: numbers: text → the one token of each number; these are the last of all.
    """

    def __init__(self, base: Tokenizer, naming: Ids, scheme: IdScheme, numbers: Sequence[str] = ()) -> None:
        """Args: base: of words, by :func:`seqlore.lore.tokenizer.train_tokenizer`. numbers: of a token each."""
        self.base, self._scheme = base, scheme
        self._first = 2 + self.base.get_vocab_size()  # 0 and 1 are padding and end
        self._users = 1 + max(naming.users)
        last = self._first + (self._users + 1 + max(naming.items) if scheme == "token" else 12)
        self.size = last + len(numbers)
        self.numbers = {text: i for i, text in enumerate(numbers, start=last)}
        self._width = {"user": len(str(max(naming.users))), "item": len(str(max(naming.items)))}
        self._known: dict[str, list[int]] = {}

    def entity(self, text: str) -> list[int]:
        """Of a user or item: one token; or its kind and digits (as many for all, but for published numbers)."""
        match = _ID.fullmatch(text)
        if match is None:
            return [self.numbers[text]] if text in self.numbers else self._word(f" {text}")
        kind, digits = match[1], match[2]
        if self._scheme == "token":
            return [self._first + int(digits) + (self._users if kind == "item" else 0)]
        digits = digits if self._scheme == "published" else digits.zfill(self._width[kind])
        return [self._first + (kind == "item"), *(self._first + 2 + int(d) for d in digits)]

    def write(self, words: Words) -> Tokens:
        """The tokens of a text and the word that each belongs to."""
        ids: list[int] = []
        numbers: list[int] = []
        for part in words:
            pieces = [self.entity(part.text)] if isinstance(part, Entity) else map(self._word, _WORD.findall(part))
            for piece in pieces:
                numbers += [1 + (numbers[-1] if numbers else 0)] * len(piece)
                ids += piece
        return Tokens(ids, numbers)

    def read(self, ids: Sequence[int]) -> str:
        """Back to text, ids left out."""
        return self.base.decode([i - 2 for i in ids if 2 <= i < self._first]).strip()

    def _word(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = [i + 2 for i in self.base.encode(word, add_special_tokens=False).ids]
        return self._known[word]
