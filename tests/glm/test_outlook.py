"""Beams that look ahead: where single titles are likely, not where many share one prefix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqlore.data import Sequences
from seqlore.glm.outlook import largest_share
from seqlore.language.decoding import beam_search
from seqlore.language.trie import Trie

#: Four titles begin with 0, one with 1; 9 ends all.
TITLES = [[0, 2, 9], [0, 3, 9], [0, 4, 9], [0, 5, 9], [1, 6, 9]]


@pytest.fixture
def trie() -> Trie:
    rows = Sequences.from_lists(TITLES)
    return Trie.build(rows.items, rows.offsets, np.arange(1, 6), 10)


def test_the_largest_share_below_each_node(trie: Trie):
    shares = largest_share(trie, np.array([0, 0, 1, 0, 4, 1])).exp()  # with one more each: 1, 2, 1, 5 and 2
    prefixes = trie.step(torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1]))
    torch.testing.assert_close(shares[prefixes], torch.tensor([5 / 9, 1.0]))
    torch.testing.assert_close(shares[0], torch.tensor(5 / 11))
    assert (shares[prefixes.max() + 1 :] == 1).all()


def test_items_of_one_title_are_one(trie: Trie):
    rows = Sequences.from_lists([[0, 9], [0, 9], [1, 9]])
    twins = Trie.build(rows.items, rows.offsets, np.arange(1, 4), 10)
    torch.testing.assert_close(largest_share(twins, np.array([0, 1, 2, 4])).exp()[0], torch.tensor(0.5))


class Fixed:
    """0 has 0.6, 1 has 0.4; what follows 0 is one of four alike."""

    tokens = 0

    def __init__(self, model: Any, prompts: Any) -> None:
        self._n = len(prompts)

    def root(self) -> Tensor:
        return torch.full((self._n, 1, 10), -99.0).index_copy(2, torch.tensor([0, 1]), self._two()).float()

    def _two(self) -> Tensor:
        return torch.tensor([0.6, 0.4]).log().expand(self._n, 1, 2)

    def keep(self, rows: Tensor) -> None:
        self._n = int(rows.sum())

    def grow(self, parent: Tensor, tokens: Tensor) -> Tensor:
        logits = torch.full((*tokens.shape, 10), -99.0)
        logits[..., 2:6] = torch.where(tokens[..., None] == 0, 0.0, -99.0)
        logits[..., 6] = torch.where(tokens == 1, 0.0, -99.0)
        logits[..., 9] = torch.where(tokens >= 2, 0.0, -99.0)
        return logits


class Model:
    device = torch.device("cpu")


def test_one_beam_finds_the_likeliest_title_only_with_the_outlook(trie: Trie):
    def best(outlook: Tensor | None, beams: int) -> tuple[int, float]:
        found = beam_search(Model(), [[1]], trie, 1, beams=beams, grow=Fixed, outlook=outlook).lists
        return int(found.items[0, 0]), float(np.exp(found.scores[0, 0]))

    ahead = largest_share(trie, np.zeros(6, int))
    assert best(None, 1) == (1, pytest.approx(0.15))
    assert best(ahead, 1) == (5, pytest.approx(0.4))
    assert best(None, 2) == best(ahead, 2) == (5, pytest.approx(0.4))
