"""Constrained decoding: a causal language model lists catalogue items by the probability of their titles.

Two ways to hold a model to a :class:`seqlore.language.trie.Trie`. ``TrieLogitsProcessor`` goes into the ``generate`` of
transformers (N. De Cao et al., "Autoregressive Entity Retrieval", ICLR 2021, arXiv 2010.00904). ``beam_search`` ranks
k items for each prompt itself: a finished title leaves the beam for a pool, so that every beam is an open prefix, and
a case ends when no open prefix can still overtake the pool. The beams of a case are a
:class:`seqlore.language.tree.Tree`, which says what models can be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data import Sequences
from seqlore.errors import ConfigError
from seqlore.language.tree import Tree, together
from seqlore.language.trie import Trie
from seqlore.ranking import Lists

#: What a step's probabilities sum to one over: the whole vocabulary, so that a title has the probability that the
#: model gives it when nothing constrains it; or the children of the node, so that those of all titles sum to one.
Normalise = Literal["vocabulary", "children"]

#: Steps after which most searches have ended, for planning memory.
TYPICAL = 16


class TrieLogitsProcessor:
    """For ``generate(logits_processor=[…])``: only tokens that continue a title of the trie.

    Stateless: each call walks the trie along what was generated, a step for all rows at once. A row that has finished
    its title, or left the trie, may only be followed by ``end``.
    """

    def __init__(self, trie: Trie, prompt_length: int, end: int, normalise: Normalise = "vocabulary") -> None:
        """Args: prompt_length: of the padded ``input_ids``. end: token after a title, usually that of end of text.

        normalise: "vocabulary" leaves the scores of allowed tokens as they come (``generate`` normalises them before,
            where it searches beams, and after, where it samples); "children" makes them log-probabilities among the
            children.
        """
        self.trie, self.prompt_length, self.end, self.normalise = trie, prompt_length, end, normalise

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """input_ids [rows, T], scores [rows, V] → scores [rows, V], −∞ where a token leads out of the trie."""
        nodes = torch.zeros(len(input_ids), dtype=torch.int64, device=input_ids.device)
        for t in range(self.prompt_length, input_ids.shape[1]):
            nodes = self.trie.step(nodes, input_ids[:, t])
        inside = nodes >= 0
        row, _, token = self.trie.children(nodes.clamp_min(0))
        row, token = row[inside[row]], token[inside[row]]
        out = torch.full_like(scores, -torch.inf)
        out[row, token] = scores[row, token]
        done = torch.ones_like(inside).index_fill_(0, row, False)
        out[done, self.end] = 0.0
        return out.log_softmax(1) if self.normalise == "children" else out


@dataclass(frozen=True, eq=False)
class Decoded:
    """Lists, and what is known of them. Attributes: lists; exact: bool [n], no title outside can belong into the list
    (what the limit on beams cut off is less probable than the last item listed). tokens: positions that the model read.
    """

    lists: Lists
    exact: NDArray[np.bool_]
    tokens: int


@torch.inference_mode()
def beam_search(
    model: Any,
    prompts: Sequence[Any],
    trie: Trie,
    k: int,
    *,
    beams: int,
    seen: Sequences | None = None,
    candidates: NDArray[np.integer] | None = None,
    normalise: Normalise = "vocabulary",
    batch_tokens: int | None = None,
    grow: Callable[[Any, Sequence[Any]], Any] = Tree,
    outlook: Tensor | None = None,
) -> Decoded:
    """The k most probable items after each prompt.

    An item's score is log P(title, end mark | prompt) plus the log of its share of the title; equal scores by lower
    dense index. Items in ``seen`` and outside ``candidates`` take neither beams nor places: a prefix that leads to
    nothing else is never opened.

    Args:
        model: causal model of transformers, in eval mode; the trie is moved to its device. prompts: token ids.
        beams: open prefixes kept of each case. With as many as the trie is wide the list is that of exhaustive scoring.
        candidates: dense indices, [c] for all prompts or [n, c] for each; 0 pads. batch_tokens: cached positions at a
            time; None = by device.
        grow: (model, prompts) → what stands in for :class:`Tree`, for models and prompts of another kind.
        outlook: [nodes], what is expected of the way on from a node, as a log-probability. It only chooses the beams,
            by score plus outlook: a prefix that hundreds of titles share is worth less than its probability.

    Raises: ConfigError: a prompt is empty, or beams or k is not positive.
    """
    if k < 1 or beams < 1 or not all(len(p) for p in prompts):
        raise ConfigError("beam_search: k and beams must be at least 1, and a prompt must have a token")
    trie = trie.to(model.device)
    lengths = np.array([len(p) for p in prompts], np.int64)
    items, scores = np.zeros((len(prompts), k), np.int32), np.full((len(prompts), k), -np.inf, np.float32)
    exact, tokens = np.zeros(len(prompts), bool), 0
    for rows in together(lengths, beams, min(trie.depth, TYPICAL), model.device, batch_tokens):
        mine = candidates if candidates is None or candidates.ndim == 1 else candidates[rows]
        room = _Room(trie, len(rows), None if seen is None else seen.take(rows), mine)
        tree = grow(model, [prompts[i] for i in rows.tolist()])
        search = _Search(tree, trie, room, len(rows), k, beams, normalise, outlook)
        search.run()
        items[rows], scores[rows] = search.pool_items.cpu().numpy(), search.pool_scores.cpu().numpy()
        exact[rows] = (search.cut < search.pool_scores[:, -1]).cpu().numpy() | (search.cut == -torch.inf).cpu().numpy()
        tokens += tree.tokens
    return Decoded(Lists(items, scores), exact, tokens)


class _Search:
    """The search of n cases together, with at most W beams of each at a time."""

    def __init__(
        self,
        tree: Any,
        trie: Trie,
        room: _Room,
        n: int,
        k: int,
        beams: int,
        normalise: Normalise,
        outlook: Tensor | None,
    ) -> None:
        device = trie.edges.device
        self.outlook = None if outlook is None else outlook.to(device)
        self.tree, self.trie, self.room, self.k, self.beams = tree, trie, room, k, beams
        self.normalise: Normalise = normalise
        self.pool_items = torch.zeros(n, k, dtype=torch.int64, device=device)
        self.pool_scores = torch.full((n, k), -torch.inf, device=device)
        self.cut = torch.full((n,), -torch.inf, device=device)  # best score that the limit on beams cut off

    def run(self) -> None:
        """Search to the end; the pools then hold the lists."""
        logits = self.tree.root()
        case = torch.arange(len(self.cut), device=logits.device)  # of each row of the batch; finished ones leave
        nodes, scores = torch.zeros_like(case)[:, None], torch.zeros(len(case), 1, device=logits.device)  # [r, W]
        while True:
            parent, nodes, scores = self._grow(case, nodes, scores, logits)
            alive = (nodes >= 0).any(1)
            if not alive.any():
                return
            if int(alive.sum()) <= len(case) // 2:
                self.tree.keep(alive)
                case, parent, nodes, scores = case[alive], parent[alive], nodes[alive], scores[alive]
            token = torch.where(nodes >= 0, self.trie.edges[nodes.clamp_min(0)] % self.trie.vocabulary, 0)
            logits = self.tree.grow(parent, token)

    def _grow(self, case: Tensor, nodes: Tensor, scores: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Open the children of all beams: leaves go to the pools, of the others the best become the new beams.

        Args: case [r]. nodes, scores: [r, W], −1 and −∞ where there is no beam. logits: [r, W, V].

        Returns: (parent beam, node, score) of the new beams, each [r, W'].
        """
        trie, width = self.trie, nodes.shape[1]
        beam = (nodes >= 0).flatten().nonzero().flatten()
        of, child, token = trie.children(nodes.flatten()[beam])
        row = beam[of] // width
        log_p = _log_p(logits.flatten(0, 1)[beam].float(), of, token, self.normalise)
        score = scores.flatten()[beam[of]] + log_p
        leaf = trie.is_leaf(child)
        self._finish(case[row[leaf]], child[leaf], score[leaf])
        open_ = ~leaf & (score >= self.pool_scores[case[row], -1]) & self.room.has(case[row], child)
        row, child, score, origin = row[open_], child[open_], score[open_], (beam[of] % width)[open_]
        hope = score if self.outlook is None else score + self.outlook[child]
        best, place = _best(row, hope, child, self.beams)
        cut = torch.ones_like(row, dtype=torch.bool).index_fill_(0, best, False)
        self.cut.scatter_reduce_(0, case[row[cut]], score[cut], "amax")
        shape = (len(case), int(place.max()) + 1 if len(place) else 1)
        where = (row[best], place)
        parent = torch.zeros(shape, dtype=torch.int64, device=row.device).index_put_(where, origin[best])
        grown = torch.full(shape, -1, device=row.device).index_put_(where, child[best])
        return parent, grown, torch.full(shape, -torch.inf, device=row.device).index_put_(where, score[best])

    def _finish(self, case: Tensor, leaf: Tensor, score: Tensor) -> None:
        """Put the items of leaves [m] into the pools of their cases, as far as they may be listed and have a place."""
        of, at = self.trie.items_at(leaf)
        case, item, score = case[of], self.trie.items[at], score[of] + self.trie.log_share[at]
        allowed = self.room.allows(case, item)
        held, column = (self.pool_items > 0).nonzero(as_tuple=True)
        case = torch.cat([held, case[allowed]])
        item = torch.cat([self.pool_items[held, column], item[allowed]])
        score = torch.cat([self.pool_scores[held, column], score[allowed]])
        best, place = _best(case, score, item, self.k)
        self.pool_items[case[best], place] = item[best]
        self.pool_scores[case[best], place] = score[best]


def _log_p(logits: Tensor, row: Tensor, token: Tensor, normalise: Normalise) -> Tensor:
    """log P of ``token`` [m] in ``row`` [m] of logits [rows, V], normalised as asked; rows ascend."""
    own = logits[row, token]
    if normalise == "vocabulary":
        return own - logits.logsumexp(1)[row]
    high = torch.full_like(logits[:, 0], -torch.inf).scatter_reduce(0, row, own, "amax")
    total = torch.zeros_like(high).index_add(0, row, (own - high[row]).exp())
    return own - high[row] - total.log()[row]


def _best(group: Tensor, score: Tensor, tie: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """(index, place): the ``limit`` best of each group, best first, equal scores by lower ``tie``; place from 0."""
    order = tie.argsort(stable=True)
    order = order[score[order].argsort(descending=True, stable=True)]
    order = order[group[order].argsort(stable=True)]
    grouped = group[order]
    place = torch.arange(len(order), device=group.device) - torch.searchsorted(grouped, grouped)
    keep = place < limit
    return order[keep], place[keep]


class _Room:
    """Which items may be listed for a case, and which nodes lead to any."""

    def __init__(self, trie: Trie, n: int, seen: Sequences | None, candidates: NDArray[np.integer] | None) -> None:
        device = trie.edges.device
        self.trie = trie
        self.size = int(trie.items.max()) + 1
        leaf = trie.leaf_of_item(self.size)
        self.base = trie.remaining
        self.listed = torch.ones(self.size, dtype=torch.bool, device=device)  # by the rule for all cases
        self.own: tuple[_Counted, _Counted] | None = None  # (items, nodes) allowed case by case
        if candidates is not None and candidates.ndim == 1:
            chosen = self._known(torch.as_tensor(candidates.astype(np.int64), device=device), leaf).unique()
            self.listed = torch.zeros_like(self.listed).index_fill_(0, chosen, True)
            self.base = torch.zeros_like(trie.remaining)
            for node in _ancestors(trie, leaf[chosen]):
                self.base.index_add_(0, node[0], torch.ones_like(node[0], dtype=self.base.dtype))
        elif candidates is not None:
            case, column = np.nonzero(candidates)
            pairs = self._pairs(case, candidates[case, column], leaf)
            self.own = pairs, self._below(pairs, leaf)
        if seen is None:
            self.seen = self.gone = _Counted(torch.zeros(0, dtype=torch.int64, device=device))
        else:
            self.seen = self._pairs(seen.row_ids, seen.items, leaf)
            keep = self.listed[self.seen.keys % self.size]
            if self.own is not None:
                keep = keep & (self.own[0].count(self.seen.keys) > 0)
            self.gone = self._below(_Counted(self.seen.keys[keep]), leaf)

    def _known(self, items: Tensor, leaf: Tensor) -> Tensor:
        items = items[(items > 0) & (items < self.size)]
        return items[leaf[items] >= 0]

    def _pairs(self, case: NDArray[np.integer], item: NDArray[np.integer], leaf: Tensor) -> _Counted:
        """Distinct case · size + item of the items that the trie has."""
        known = (item > 0) & (item < self.size)
        keys = torch.as_tensor(case[known].astype(np.int64) * self.size + item[known], device=leaf.device)
        keys = keys[leaf[keys % self.size] >= 0].unique()
        return _Counted(keys)

    def _below(self, pairs: _Counted, leaf: Tensor) -> _Counted:
        """How many items of ``pairs`` are at or below a node, under case · nodes + node."""
        case, keys = pairs.keys // self.size, []
        for node, row in _ancestors(self.trie, leaf[pairs.keys % self.size]):
            keys.append(case[row] * len(self.trie) + node)
        return _Counted(torch.cat(keys) if keys else pairs.keys)

    def has(self, case: Tensor, node: Tensor) -> Tensor:
        """bool [m]: at or below ``node`` there is an item that may be listed for ``case``."""
        keys = case * len(self.trie) + node
        there = self.base[node] if self.own is None else self.own[1].count(keys)
        return there > self.gone.count(keys)

    def allows(self, case: Tensor, item: Tensor) -> Tensor:
        """bool [m]."""
        keys = case * self.size + item
        allowed = self.listed[item] if self.own is None else self.own[0].count(keys) > 0
        return allowed & (self.seen.count(keys) == 0)


class _Counted:
    """How often each of some keys occurs."""

    def __init__(self, keys: Tensor) -> None:
        self.keys, self._counts = keys.unique(return_counts=True)

    def count(self, keys: Tensor) -> Tensor:
        """int64 like ``keys``."""
        if not len(self.keys):
            return torch.zeros_like(keys)
        at = torch.searchsorted(self.keys, keys).clamp_max(len(self.keys) - 1)
        return torch.where(self.keys[at] == keys, self._counts[at], 0)


def _ancestors(trie: Trie, leaves: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(node, row): each leaf and all nodes above it, level by level; ``row`` says of which leaf."""
    node, row = leaves, torch.arange(len(leaves), device=leaves.device)
    while len(node):
        yield node, row
        parent = trie.parents(node)
        node, row = parent[parent >= 0], row[parent >= 0]
