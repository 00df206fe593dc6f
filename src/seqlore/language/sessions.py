"""Sessions as a prompt model reads them: titles, shortened if asked, in the format of :mod:`seqlore.language.pairs`.

How a long session is fitted to the model's context: of the latest ``max_items`` items with a title, as many as have
room beside the longest completion of the catalogue, the latest first; they are numbered anew from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Catalog, Sequences
from seqlore.errors import ConfigError, DataError
from seqlore.language.pairs import PROMPT_END, session_completion, session_prompt, written

#: Tokens that the number of a line may take: line break, digits and full stop.
NUMBER_TOKENS = 6


def short_titles(catalog: Catalog, words: int | None) -> list[str]:
    """[size], as they stand in prompts and completions; "" for item 0 and for an item without a title.

    Args: words: of a title that are kept; None = all.

    Raises: DataError: no item has a title.
    """
    titles = ["", *(" ".join(written(t).split()[:words]) for t in catalog.texts(("title",)))]
    if not any(titles):
        raise DataError("no item has a title, and a prompt is made of titles: give the items a column 'title'")
    return titles


def documents(titles: list[str], sequences: Sequences) -> Iterator[str]:
    """Whole sequences as text, prompt and completion in one: what a model of the data's own is pretrained on."""
    for items in sequences:
        named = [titles[i] for i in items.tolist() if titles[i]]
        if len(named) >= 2:
            yield session_prompt(named[:-1]) + session_completion(named[-1])


class SessionWriter:
    """Item sequences → prompts, as text and as tokens; items → completions."""

    def __init__(self, titles: list[str], tokenizer: Any, *, context: int, max_items: int) -> None:
        """Args: titles: as :func:`short_titles`. tokenizer: of transformers. context: most tokens of a pair.

        Raises: ConfigError: the context has no room for the longest title twice.
        """
        self.titles, self.tokenizer, self.max_items = titles, tokenizer, max_items
        self.named = np.array([bool(t) for t in titles])
        first = tokenizer("").input_ids[:1]
        self._begin = first if first and first[0] == tokenizer.bos_token_id else []
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        rows = [[*ids, *end] for ids in self._encode([session_completion(t) for t in titles if t])]
        lengths = np.zeros(len(titles), np.int64)
        lengths[self.named] = [len(row) for row in rows]
        #: Tokens of each item's completion, end mark included, as a ragged array; none for one without a title.
        self.completions = Sequences(
            np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), np.r_[0, np.cumsum(lengths)]
        )
        self.longest = int(lengths.max())
        self._marks = len(self._begin) + len(self._encode([PROMPT_END])[0]) + 1
        self._costs = np.where(self.named, lengths + NUMBER_TOKENS, 0)
        self.room = context - self.longest - self._marks
        if self.room < self._costs.max():
            raise ConfigError(
                f"a context of {context} tokens has no room for a title of {self.longest} tokens as prompt and as "
                "completion: lower title_words, or take a model with a longer context"
            )

    def _encode(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        return self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids

    def fitted(self, histories: Sequences) -> Sequences:
        """Each history cut to the items that stand in its prompt (possibly none)."""
        told = histories.where(self.named[histories.items]).last(self.max_items)
        costs = np.r_[0, np.cumsum(self._costs[told.items])]
        spent = np.repeat(costs[told.offsets[1:]], told.lengths) - costs[:-1]  # by an item and all that are later
        return told.where(spent <= self.room)

    def prompts(self, histories: Sequences) -> list[str]:
        """The prompt of each history."""
        titles = self.titles
        return [session_prompt([titles[i] for i in items.tolist()]) for items in self.fitted(histories)]

    def tokens(self, prompts: list[str]) -> list[list[int]]:
        """Prompts as the model reads them."""
        return [[*self._begin, *row] for row in self._encode(prompts)]

    def pairs(self, sequences: Sequences, every: bool) -> tuple[list[list[int]], NDArray[np.int32]]:
        """(prompts as tokens, items that complete them): of the last item of each sequence, or of every one but the
        first. An item without a title is in no pair; without one before it there is no prompt.
        """
        named = sequences.where(self.named[sequences.items])
        at = np.arange(len(named.items))
        place = at - np.repeat(named.offsets[:-1], named.lengths)
        asked = (place > 0) if every else (place > 0) & (at == np.repeat(named.offsets[1:] - 1, named.lengths))
        ends = at[asked]
        return self.tokens(self.prompts(named.slice(ends - place[asked], ends, named.row_ids[asked]))), named.items[
            ends
        ]
