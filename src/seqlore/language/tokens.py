"""How tokens are numbered where items and users stand among words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Words 0 … words − 1, then items, then users; item 0 is padding and user 0 the stranger.

    Attributes: words: rows of the word table. items: rows of the item table.
    """

    words: int
    items: int

    @property
    def first_user(self) -> int:
        """Token of the stranger; from here on all tokens are users."""
        return self.words + self.items

    def of_items(self, index: NDArray[np.integer]) -> Ints:
        """Tokens of dense item indices; padding stays 0."""
        return np.where(index > 0, index + self.words, 0).astype(np.int64)

    def of_users(self, index: NDArray[np.integer]) -> Ints:
        """Tokens of dense user indices."""
        return index.astype(np.int64) + self.first_user


def padded(rows: list[NDArray], dtype: type) -> NDArray:
    """[R, longest], zeros on the right."""
    out = np.zeros((len(rows), max((len(row) for row in rows), default=0)), dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
