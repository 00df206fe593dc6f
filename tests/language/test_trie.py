"""The trie beside plain Python dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqlore.errors import DataError
from seqlore.language.trie import Trie, ragged, title_trie

END = 7


def build(sequences: list[list[int]], counts: list[int] | None = None) -> Trie:
    ended = [[*s, END] for s in sequences]
    offsets = np.cumsum([0] + [len(s) for s in ended])
    items = np.arange(1, len(ended) + 1)
    return Trie.build(np.concatenate(ended), offsets, items, END + 1, None if counts is None else np.array(counts))


def walk(trie: Trie, tokens: list[int]) -> int:
    node = torch.zeros(1, dtype=torch.int64)
    for token in tokens:
        node = trie.step(node, torch.tensor([token]))
    return int(node)


def items_at(trie: Trie, node: int) -> list[int]:
    return trie.items[trie.items_at(torch.tensor([node]))[1]].tolist()


titles = st.lists(st.lists(st.integers(0, END - 1), max_size=5), min_size=1, max_size=30)


@given(titles)
def test_every_title_leads_to_its_items_and_nothing_else_is_there(sequences: list[list[int]]):
    trie = build(sequences)
    for sequence in sequences:
        node = walk(trie, [*sequence, END])
        assert bool(trie.is_leaf(torch.tensor(node)))
        assert sorted(items_at(trie, node)) == [i for i, s in enumerate(sequences, 1) if s == sequence]
    prefixes = {tuple([*s, END][:n]) for s in sequences for n in range(len(s) + 2)}
    assert len(trie) == len(prefixes)
    assert sorted(trie.items.tolist()) == list(range(1, len(sequences) + 1))


@given(titles)
def test_children_and_what_remains_below_are_those_of_the_prefixes(sequences: list[list[int]]):
    trie = build(sequences)
    ended = [[*s, END] for s in sequences]
    for prefix in {tuple(s[:n]) for s in ended for n in range(len(s) + 1)}:
        node = walk(trie, list(prefix))
        below = [s for s in ended if tuple(s[: len(prefix)]) == prefix]
        row, child, token = trie.children(torch.tensor([node]))
        assert token.tolist() == sorted({s[len(prefix)] for s in below if len(s) > len(prefix)})
        assert (row == 0).all()
        assert trie.parents(child).tolist() == [node] * len(child)
        assert int(trie.remaining[node]) == len(below)


def test_nodes_are_numbered_breadth_first():
    trie = build([[1], [1, 2], [3]])
    assert trie.edges.tolist() == [-1, 1, 3, 1 * 8 + 2, 1 * 8 + 7, 2 * 8 + 7, 3 * 8 + 7]
    assert trie.first_child.tolist() == [1, 3, 5, 6, 7, 7, 7, 7]
    assert trie.levels == (0, 1, 3, 6, 7)
    assert trie.depth == 3
    assert trie.leaf_of_item(5).tolist() == [-1, 4, 6, 5, -1]


def test_a_step_from_nowhere_leads_nowhere():
    trie = build([[1], [0]])
    assert trie.step(torch.tensor([0, 0, -1, 1]), torch.tensor([5, 1, 0, 1])).tolist() == [-1, 2, -1, -1]


def test_items_of_one_title_share_its_probability_by_their_counts():
    trie = build([[1], [2], [1], [1]], counts=[0, 2, 9, 4, 2])  # index 0 is padding
    node = walk(trie, [1, END])
    assert items_at(trie, node) == [3, 1, 4]  # the most popular first, then the lower index
    shares = trie.log_share[trie.items_at(torch.tensor([node]))[1]].exp()
    torch.testing.assert_close(shares, torch.tensor([5 / 11, 3 / 11, 3 / 11]))
    assert trie.log_share[trie.items == 2].tolist() == [0.0]


def test_what_cannot_be_a_trie_is_refused():
    with pytest.raises(DataError, match="title of item 2 begins another"):
        Trie.build(np.array([1, 2, 1]), np.array([0, 2, 3]), np.array([1, 2]), 5)
    with pytest.raises(DataError, match="at least one token"):
        Trie.build(np.array([1]), np.array([0, 1, 1]), np.array([1, 2]), 5)
    with pytest.raises(DataError, match="at least one title"):
        Trie.build(np.array([], int), np.array([0]), np.array([], int), 5)
    with pytest.raises(DataError, match="token 9, but the model knows only 5"):
        Trie.build(np.array([9]), np.array([0, 1]), np.array([1]), 5)


def test_items_without_a_title_are_left_out_and_named():
    made = title_trie(["ab", "", "a", "  ", "ab"], lambda texts: [[ord(c) for c in t] for t in texts], 256, end=0)
    assert made.untitled.tolist() == [2, 4]
    assert items_at(made.trie, walk(made.trie, [97, 98, 0])) == [1, 5]
    assert items_at(made.trie, walk(made.trie, [97, 0])) == [3]


def test_titles_in_blocks_make_the_same_trie(monkeypatch: pytest.MonkeyPatch):
    names = ["".join(chr(97 + int(d)) for d in str(i)) for i in range(50)]
    arguments = (names, lambda texts: [[ord(c) for c in t] for t in texts], 256)
    whole = title_trie(*arguments, end=0).trie
    monkeypatch.setattr("seqlore.language.trie.BLOCK", 7)
    parts = title_trie(*arguments, end=0).trie
    assert torch.equal(whole.edges, parts.edges)
    assert torch.equal(whole.items, parts.items)


def test_ragged_ranges():
    row, value = ragged(torch.tensor([5, 0, 2]), torch.tensor([2, 0, 3]))
    assert row.tolist() == [0, 0, 2, 2, 2]
    assert value.tolist() == [5, 6, 2, 3, 4]
