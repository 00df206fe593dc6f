"""Exact log-probabilities of catalogue items as the content of a blank: of a few candidates, or of all.

Titles are scored as parts of the trie: what several begin with is read once, and every node sees its ancestors only, so
that hundreds of titles are one row. What beams find is judged by this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.glm.positions import Automaton, State
from seqlore.glm.tree import BlankTree, Question
from seqlore.language.decoding import Normalise
from seqlore.language.trie import Trie

#: Titles that are read as one row, and questions that are read together against all of a catalogue.
TITLES, TOGETHER = 256, 8


@torch.no_grad()
def item_scores(
    body: Any,
    asked: Sequence[Question],
    trie: Trie,
    automaton: Automaton,
    *,
    size: int,
    candidates: NDArray[np.integer] | None = None,
    normalise: Normalise = "vocabulary",
) -> Tensor:
    """log P(title, end mark) + log of the item's share of its title: float32 [n, size], −∞ for what is not asked for.

    Args: trie, automaton: on the body's device. size: of the catalogue. candidates: dense indices, [c] for all or
        [n, c] for each, 0 pads; None = all items of the trie. normalise: as in a search.
    """
    out = torch.full((len(asked), size), -torch.inf, device=body.device)
    each = candidates is not None and candidates.ndim == 2
    leaf, rank = trie.leaf_of_item(size), _path_order(trie)
    for start in range(0, len(asked), 1 if each else TOGETHER):
        rows = slice(start, start + (1 if each else TOGETHER))
        items = trie.items if candidates is None else _present(candidates[start] if each else candidates, leaf)
        leaves = leaf[items].unique()
        leaves = leaves[rank[leaves].argsort()]
        tree = BlankTree(body, asked[rows], automaton)
        root = tree.root()[:, 0].float()  # [n, V]
        first = root - _total(root[:, None], trie, leaves.new_zeros(1), normalise)
        for part in leaves.split(TITLES):
            scores = _leaf_scores(tree, trie, automaton, part, first, normalise)
            row, at = trie.items_at(part)
            out[rows, trie.items[at]] = scores[:, row] + trie.log_share[at]
    if candidates is not None:  # a title that several items bear brings them all
        wanted = torch.zeros_like(out, dtype=torch.bool)
        chosen = torch.from_numpy(np.broadcast_to(candidates, (len(asked), candidates.shape[-1])).astype(np.int64))
        out.masked_fill_(~wanted.scatter_(1, chosen.to(out.device), True), -torch.inf)
        out[:, 0] = -torch.inf
    return out


def _present(candidates: NDArray[np.integer], leaf: Tensor) -> Tensor:
    items = torch.from_numpy(candidates[candidates > 0].astype(np.int64)).to(leaf.device)
    return items[leaf[items] >= 0]


def _total(logits: Tensor, trie: Trie, nodes: Tensor, normalise: Normalise) -> Tensor:
    """[…, nodes]: log of what the probabilities at each node are divided by, from its logits [..., nodes, V]."""
    if normalise == "vocabulary":
        return logits.logsumexp(-1)
    row, _, token = trie.children(nodes)
    own = logits[..., row, token]
    where = row.expand_as(own)
    high = torch.full_like(logits[..., 0], -torch.inf).scatter_reduce(-1, where, own, "amax")
    total = torch.zeros_like(high).scatter_add(-1, where, (own - high.gather(-1, where)).exp())
    return high + total.log()


def _leaf_scores(
    tree: BlankTree, trie: Trie, automaton: Automaton, leaves: Tensor, first: Tensor, normalise: Normalise
) -> Tensor:
    """log P [n, leaves] of the ways to ``leaves``, behind a tree of which only the root was read."""
    levels = [leaves]  # all nodes above the leaves, from the leaves to the children of the root
    while len(up := trie.parents(levels[-1][levels[-1] > 0])):
        levels.append(up[up > 0].unique())
    nodes = torch.cat(levels).unique()  # breadth first: a parent stands before its children
    if not len(nodes):
        return first.new_zeros(len(first), 0)
    inner = nodes[~trie.is_leaf(nodes)]
    token = trie.edges[nodes] % trie.vocabulary
    parent = trie.parents(nodes)
    log_p = torch.empty(len(first), len(nodes), device=first.device)
    top = parent == 0
    log_p[:, top] = first[:, token[top]]
    if len(inner):
        hidden = _read(tree, trie, automaton, inner)  # [n, inner, d]
        place = torch.searchsorted(inner, parent[~top])
        for i, row in enumerate(hidden):  # the logits of one question at a time: they are what takes memory
            below = tree._body.logits(row).float()
            log_p[i, ~top] = below[place, token[~top]] - _total(below, trie, inner, normalise)[place]
    total = log_p
    for start, stop in zip(trie.levels[2:-1], trie.levels[3:], strict=True):
        here = ((nodes >= start) & (nodes < stop)).nonzero().flatten()
        total[:, here] += total[:, torch.searchsorted(nodes, parent[here])]
    return total[:, torch.searchsorted(nodes, leaves)]


def _read(tree: BlankTree, trie: Trie, automaton: Automaton, inner: Tensor) -> Tensor:
    """Hidden states [n, inner, d] of inner nodes, each of which sees the question and its ancestors."""
    n, device = len(tree.sight), inner.device
    parent, token = trie.parents(inner), trie.edges[inner] % trie.vocabulary
    sees = torch.eye(len(inner), dtype=torch.bool, device=device)
    begun = automaton.begin(len(inner), device=device)
    state = State(begun.intra.clone(), begun.node.clone())
    for start, stop in zip(trie.levels[1:-1], trie.levels[2:], strict=True):
        here = ((inner >= start) & (inner < stop)).nonzero().flatten()
        before = automaton.begin(len(here), device=device)
        if start > 1:
            above = torch.searchsorted(inner, parent[here])
            sees[here] |= sees[above]
            before = state.where(above)
        after = automaton.step(before, token[here])
        state.intra[here], state.node[here] = after.intra, after.node
    sight = torch.cat([tree.sight.expand(-1, len(inner), -1), sees.expand(n, -1, -1)], 2)
    inter = tree._inter[:, None].expand(-1, len(inner))
    cache = tree.cache.select(torch.arange(n, device=device))  # of its own: this part is forgotten again
    return tree._body(token.expand(n, -1), inter, state.intra.expand(n, -1), sight, cache)


def _path_order(trie: Trie) -> Tensor:
    """int64 [nodes]: how many items stand before each node, walking all ways in the order of tokens."""
    before = trie.remaining.long().cumsum(0) - trie.remaining  # of all nodes before it, in breadth-first order
    rank = torch.zeros(len(trie), dtype=torch.int64, device=trie.edges.device)
    for start, stop in zip(trie.levels[1:-1], trie.levels[2:], strict=True):
        parent = trie.parents(torch.arange(start, stop, device=rank.device))
        rank[start:stop] = rank[parent] + before[start:stop] - before[trie.first_child[parent].long()]
    return rank
