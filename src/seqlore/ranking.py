"""``score → mask → top-k``: the one routine that makes lists, for evaluation, command line and service alike.

Equal scores are ordered by dense index. The catalogue's order is a hash of the external id, so this is a fixed
rule that depends on nothing else: neither batch size, nor device, nor the order of any file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data.sequences import Sequences

#: Floats in one block of scores: 16 M are 64 MB, which stays in the allocator and near the caches.
BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class Lists:
    """Ranked lists, best first.

    Attributes:
        items: int32 [n, k], dense indices; 0 where the list is shorter than k.
        scores: float32 [n, k]; −inf where the list is shorter than k.
        target_tied: bool [n] or None: the target shared its score with another item that could be recommended.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    target_tied: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.items)

    @staticmethod
    def concat(parts: list[Lists]) -> Lists:
        """Lists one under another."""
        tied = [p.target_tied for p in parts]
        return Lists(
            np.concatenate([p.items for p in parts]),
            np.concatenate([p.scores for p in parts]),
            None if not tied or tied[0] is None else np.concatenate(tied),  # type: ignore[arg-type]
        )


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of each row, best first, equal scores by lower index.

    ``torch.topk`` promises no order among equals, neither inside the list nor at its edge, so both are mended here.

    Args:
        scores: [n, N]; −inf marks what must not be listed. k: list length; may exceed N.

    Returns:
        (indices [n, k] int64, values [n, k]); index 0 and −inf where nothing is left to list.

    Raises: ValueError: a score is not a number (training diverged).
    """
    m = min(k + 1, scores.shape[1])
    values, index = scores.topk(m, dim=1)
    if torch.isnan(values).any():  # topk sorts what is not a number before everything else, so none can hide
        raise ValueError("a model returned scores that are not numbers: its training diverged; lower the learning rate")
    if m == k + 1:
        _mend_edge(scores, values, index)
        index = index[:, :k]
    index = index.sort(dim=1).values
    values = scores.gather(1, index)
    values, order = values.sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order).masked_fill_(values == -torch.inf, 0)
    if m < k:
        values = torch.nn.functional.pad(values, (0, k - m), value=-torch.inf)
        index = torch.nn.functional.pad(index, (0, k - m))
    return index, values


def _mend_edge(scores: Tensor, values: Tensor, index: Tensor) -> None:
    """Where equal scores straddle the edge of the list, put the lowest indices among them inside, in place.

    Which of the equals ``topk`` lets in is its whim; what lies above the edge is always in. A sparse model (zeros
    nearly everywhere) has such a tie in most rows, so this must be quick: its equals stand in the first columns.

    Args:
        scores: [n, N]. values, index: the k + 1 highest of each row, best first; ``index[:, :k]`` is mended.
    """
    k = values.shape[1] - 1
    edge = values[:, k - 1]
    rows = torch.nonzero((edge == values[:, k]) & (edge > -torch.inf)).flatten().cpu().numpy()
    if not len(rows):
        return
    block, edges = scores.cpu().numpy(), edge.cpu().numpy()
    above = (values[:, :k] > edge[:, None]).sum(1).cpu().numpy()
    chosen = index[:, :k].cpu().numpy()
    for row in rows:
        free = k - above[row]
        equal = np.flatnonzero(block[row, :1024] == edges[row])
        if len(equal) < free:
            equal = np.flatnonzero(block[row] == edges[row])
        chosen[row, above[row] :] = equal[:free]
    index[:, :k] = torch.as_tensor(chosen, device=index.device)


def mask_(
    scores: Tensor, histories: Sequences, *, exclude_seen: bool, candidates: NDArray[np.integer] | None = None
) -> Tensor:
    """Set to −inf, in place, what must not be recommended: padding, seen items, items outside ``candidates``.

    Args:
        scores: [n, N + 1]. candidates: dense indices, [c] for all rows or [n, c] for each; 0 pads.
    """
    if candidates is not None and candidates.ndim == 1:
        outside = torch.ones(scores.shape[1], dtype=torch.bool)
        outside[torch.as_tensor(candidates.astype(np.int64))] = False
        scores.masked_fill_(outside.to(scores.device), -torch.inf)
    elif candidates is not None:
        rows = torch.as_tensor(candidates.astype(np.int64), device=scores.device)
        kept = scores.gather(1, rows)
        scores.fill_(-torch.inf).scatter_(1, rows, kept)
    scores[:, 0] = -torch.inf
    if exclude_seen:
        row = torch.as_tensor(histories.row_ids, device=scores.device)
        scores[row, torch.as_tensor(histories.items.astype(np.int64), device=scores.device)] = -torch.inf
    return scores


def _in_tie(scores: Tensor, targets: NDArray[np.integer]) -> NDArray[np.bool_]:
    """bool [n]: the target may be listed, and shares its score with another item that may."""
    own = scores.gather(1, torch.as_tensor(targets.astype(np.int64), device=scores.device)[:, None])
    if scores.device.type == "cpu":  # numpy compares with a column several times as fast as torch
        twice = np.count_nonzero(scores.numpy() == own.numpy(), axis=1) > 1
    else:
        twice = ((scores == own).sum(1) > 1).cpu().numpy()
    return twice & (own[:, 0] > -torch.inf).cpu().numpy()


#: (histories, k, exclude_seen, candidates) → lists.
Answer = Callable[[Sequences, int, bool, "NDArray[np.integer] | None"], Lists]


def or_popular(
    answer: Answer,
    told: NDArray[np.bool_],
    counts: Tensor,
    histories: Sequences,
    k: int,
    exclude_seen: bool,
    candidates: NDArray[np.integer] | None,
) -> Lists:
    """Lists of ``answer`` for the histories that are ``told``; for others, what is most frequent in training.

    Args:
        told: bool [n]. counts: [size], events of each item in training; scores of popular items are shares of them.
    """

    def popular(part: Sequences, k: int, exclude_seen: bool, mine: NDArray[np.integer] | None) -> Lists:
        share = (counts / counts.sum()).float()
        settings = {"size": len(share), "exclude_seen": exclude_seen, "candidates": mine}
        return rank(lambda some: share.repeat(len(some), 1), part, k, **settings)

    items, scores = np.zeros((len(told), k), np.int32), np.full((len(told), k), -np.inf, np.float32)
    for rows, way in ((told, answer), (~told, popular)):
        if rows.any():
            mine = candidates if candidates is None or candidates.ndim == 1 else candidates[rows]
            lists = way(histories.take(rows), k, exclude_seen, mine)
            items[rows], scores[rows] = lists.items, lists.scores
    return Lists(items, scores)


@torch.no_grad()
def rank(
    score: Callable[[Sequences], Tensor],
    histories: Sequences,
    k: int,
    *,
    size: int,
    exclude_seen: bool = True,
    candidates: NDArray[np.integer] | None = None,
    targets: NDArray[np.integer] | None = None,
) -> Lists:
    """Lists of the k best items for each history, in chunks.

    Args:
        score: histories → [n, size] scores over dense indices, column 0 ignored. The tensor is overwritten.
        size: ``catalog.size``; with it the chunk is chosen so that a block of scores stays small.
        candidates: dense indices that may be listed, [c] or [n, c]; None = all.
        targets: dense indices [n]; if given, ``Lists.target_tied`` is filled.

    Raises: ValueError: a score is not a number (training diverged).
    """
    chunk = max(1, min(4096, BLOCK // size))
    parts = []
    for start in range(0, len(histories), chunk):
        cut = slice(start, start + chunk)
        part = histories.take(cut)
        scores = score(part)
        chosen = candidates if candidates is None or candidates.ndim == 1 else candidates[cut]
        mask_(scores, part, exclude_seen=exclude_seen, candidates=chosen)
        index, values = top_k(scores, k)
        tied = None if targets is None else _in_tie(scores, targets[cut])
        parts.append(Lists(index.cpu().numpy().astype(np.int32), values.float().cpu().numpy(), tied))
    if not parts:
        return Lists(np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
    return Lists.concat(parts)
