"""A token trie of the catalogue's titles, held in arrays, so that a language model can be kept to titles that exist.

Constrained decoding over a trie: N. De Cao et al., "Autoregressive Entity Retrieval", ICLR 2021 (arXiv 2010.00904).

Nodes are numbered breadth first, siblings by token. So the children of a node are neighbours, and the edges, written
as ``parent · vocabulary + token``, are one ascending array: a step down is a binary search, the children of a node are
a range, and nothing is a pointer. Built level by level, each level one sort.

Deviation: a title that several items bear has one leaf. Its probability is divided among its items by their counts
in training, plus one, so that each item has a probability of its own; of items with equal ones the lower dense index
comes first, which is the catalogue's fixed hash order (:mod:`seqlore.ranking`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.errors import DataError

#: Titles that are turned into tokens at a time: bounds the memory that lists of Python numbers take.
BLOCK = 1 << 16

Encode = Callable[[list[str]], Sequence[Sequence[int]]]


@dataclass(frozen=True, eq=False)
class Trie:
    """Token sequences as a tree. Node 0 is the root; a sequence is a way from there to a leaf.

    Attributes:
        edges: int64 [nodes], parent · vocabulary + token of the edge into each node, ascending; −1 for the root.
        first_child: int32 [nodes + 1]; the children of node v are first_child[v] … first_child[v + 1] − 1.
        first_item: int32 [nodes + 1]; the items of leaf v are items[first_item[v] : first_item[v + 1]].
        items: int64 [n], dense item indices by leaf; those of one leaf by falling share, then by index.
        log_share: float32 [n], log of the item's part of its leaf's probability; 0 where it is the leaf's only one.
        remaining: int32 [nodes], number of items at or below each node.
        levels: nodes of depth t are levels[t] … levels[t + 1] − 1.
        vocabulary: tokens are below this.
    """

    edges: Tensor
    first_child: Tensor
    first_item: Tensor
    items: Tensor
    log_share: Tensor
    remaining: Tensor
    levels: tuple[int, ...]
    vocabulary: int

    @classmethod
    def build(
        cls,
        tokens: NDArray[np.integer],
        offsets: NDArray[np.integer],
        items: NDArray[np.integer],
        vocabulary: int,
        counts: NDArray[np.integer] | None = None,
    ) -> Trie:
        """A trie of ragged sequences.

        Args:
            tokens: [m], all sequences one after another. offsets: [n + 1]; sequence i is tokens[offsets[i] : …].
            items: [n], ≥ 1, the item that each sequence stands for, each once. vocabulary: above every token.
            counts: indexed by item, how often it occurs in training; None = equal.

        Raises: DataError: no sequence, an empty one, a token out of range, or one that another one begins with (end
            every sequence with a token that occurs nowhere else).
        """
        tokens, offsets, items = (np.asarray(a, np.int64) for a in (tokens, offsets, items))
        lengths = np.diff(offsets)
        if not len(items) or not lengths.all():
            raise DataError("a trie needs at least one title, and each with at least one token")
        if tokens.min() < 0 or tokens.max() >= vocabulary:
            raise DataError(f"a title has the token {tokens.max()}, but the model knows only {vocabulary}")
        edges, leaf = [np.array([-1])], np.zeros(len(items), np.int64)
        levels, active, node = [0, 1], np.arange(len(items)), np.zeros(len(items), np.int64)
        while len(active):
            depth = len(levels) - 2
            keys, place = np.unique(node * vocabulary + tokens[offsets[active] + depth], return_inverse=True)
            edges.append(keys)
            node = levels[-1] + place
            levels.append(levels[-1] + len(keys))
            ended = lengths[active] == depth + 1
            leaf[active[ended]] = node[ended]
            active, node = active[~ended], node[~ended]
        flat = np.concatenate(edges)
        parents = flat[1:] // vocabulary
        children = np.bincount(parents, minlength=len(flat))
        if children[leaf].any():
            i = int(items[children[leaf] > 0][0])
            raise DataError(f"the title of item {i} begins another one: end every title with a token of its own")
        worth = np.ones(len(items)) if counts is None else np.asarray(counts)[items] + 1.0
        order = np.lexsort((items, -worth, leaf))
        total = np.bincount(leaf, worth, minlength=len(flat))
        per_leaf = np.bincount(leaf, minlength=len(flat))
        remaining = per_leaf.copy()
        for start, stop in zip(levels[-2:0:-1], levels[:1:-1], strict=True):  # from the deepest level up
            np.add.at(remaining, flat[start:stop] // vocabulary, remaining[start:stop])
        return cls(
            edges=torch.from_numpy(flat),
            first_child=torch.from_numpy(np.r_[1, 1 + np.cumsum(children)].astype(np.int32)),
            first_item=torch.from_numpy(np.r_[0, np.cumsum(per_leaf)].astype(np.int32)),
            items=torch.from_numpy(items[order]),
            log_share=torch.from_numpy(np.log(worth / total[leaf])[order].astype(np.float32)),
            remaining=torch.from_numpy(remaining.astype(np.int32)),
            levels=tuple(levels),
            vocabulary=vocabulary,
        )

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.edges)

    @property
    def depth(self) -> int:
        """Tokens of the longest sequence."""
        return len(self.levels) - 2

    @property
    def bytes(self) -> int:
        """Size of all arrays."""
        return sum(t.numel() * t.element_size() for t in self._tensors().values())

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.__dict__.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str) -> Trie:
        """The same trie on ``device``."""
        return replace(self, **{name: value.to(device) for name, value in self._tensors().items()})

    def step(self, nodes: Tensor, tokens: Tensor) -> Tensor:
        """The child of each node by each token, int64 like ``nodes``; −1 where there is none, or where a node is −1."""
        keys = nodes * self.vocabulary + tokens
        found = torch.searchsorted(self.edges, keys).clamp_max(len(self) - 1)
        return torch.where((self.edges[found] == keys) & (nodes >= 0), found, -1)

    def children(self, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(row, child, token), each int64 [m]: the children of ``nodes`` [rows], row by row, tokens ascending."""
        start = self.first_child[nodes]
        row, child = ragged(start, self.first_child[nodes + 1] - start)
        return row, child, self.edges[child] - nodes[row] * self.vocabulary

    def items_at(self, leaves: Tensor) -> tuple[Tensor, Tensor]:
        """(row, position in ``items``), each int64 [m]: the items of ``leaves`` [rows]; an inner node has none."""
        start = self.first_item[leaves]
        return ragged(start, self.first_item[leaves + 1] - start)

    def is_leaf(self, nodes: Tensor) -> Tensor:
        """bool like ``nodes``."""
        return self.first_child[nodes] == self.first_child[nodes + 1]

    def leaf_of_item(self, size: int) -> Tensor:
        """int64 [size], the leaf of each dense item index; −1 for one that is not in the trie."""
        leaves = torch.repeat_interleave(self.first_item.diff().long())
        return torch.full((size,), -1, device=self.items.device).scatter_(0, self.items, leaves)

    def parents(self, nodes: Tensor) -> Tensor:
        """int64 like ``nodes``; −1 for the root's."""
        return torch.div(self.edges[nodes], self.vocabulary, rounding_mode="floor")


def ragged(start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """(row, value), each int64 [Σ length]: row i holds start[i], start[i] + 1, … (``length[i]`` of them)."""
    row = torch.repeat_interleave(length.long())
    return row, torch.arange(len(row), device=row.device) + (start - length.cumsum(0) + length)[row]


@dataclass(frozen=True, eq=False)
class TitleTrie:
    """The trie of a catalogue. Attributes: trie; untitled: dense indices of the items that it lacks, ascending."""

    trie: Trie
    untitled: NDArray[np.int64]


def title_trie(
    titles: list[str],
    encode: Encode,
    vocabulary: int,
    *,
    end: int | None,
    counts: NDArray[np.integer] | None = None,
) -> TitleTrie:
    """The trie of a catalogue's titles; items without a title are left out and named.

    Args:
        titles: of item 1, 2, …; "" = none. encode: texts → tokens, for many at once. end: token appended to every
            title, so that no title begins another; None = ``encode`` sees to that. counts: [len(titles) + 1], of
            items in training.

    Raises: DataError: see :meth:`Trie.build`.
    """
    named = np.flatnonzero([bool(t.strip()) for t in titles])
    tokens, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for block in _blocks(named):
        rows = encode([titles[i] for i in block.tolist()])
        if end is not None:
            rows = [[*row, end] for row in rows]
        lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
        tokens.append(np.fromiter(chain.from_iterable(rows), np.int32, int(lengths[-1].sum())))
    offsets = np.r_[0, np.cumsum(np.concatenate(lengths))]
    trie = Trie.build(np.concatenate(tokens), offsets, named + 1, vocabulary, counts)
    return TitleTrie(trie, np.setdiff1d(np.arange(1, len(titles) + 1), named + 1))


def _blocks(index: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    return (index[start : start + BLOCK] for start in range(0, len(index), BLOCK))
