"""Ranking metrics as pure functions of lists and targets. One target a case.

Accuracy depends on the lists only through the position of the target in each, so it is computed from ``positions``.
All per-case functions return float64 [n]; the metric of a model is the mean over cases, every case counted.

Sources: NDCG: Järvelin & Kekäläinen, TOIS 2002 (10.1145/582415.582418). Coverage and serendipity: Ge,
Delgado-Battenfeld & Jannach, RecSys 2010 (10.1145/1864708.1864761). Novelty (self-information): Zhou et al.,
PNAS 2010 (10.1073/pnas.1000488107). As used by Harte et al., RecSys 2023 (10.1145/3604915.3610639).

Deviations from the code of Harte et al.: novelty and the popular list count training interactions only (theirs count
the test interactions too; :func:`seqlore.evaluation.evaluate` has the switch ``novelty_counts="all"``), and an item
without a count is as novel as one that was bought once (theirs would add nothing for it).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


def positions(lists: Ints, targets: Ints) -> NDArray[np.int32]:
    """Where each target stands in its list: int32 [n], 1 = first, 0 = not listed.

    Args:
        lists: [n, k] items, best first, 0 where a list is shorter than k. targets: [n] items, never 0.

    >>> positions(np.array([[3, 1, 2], [4, 0, 0]]), np.array([1, 2]))
    array([2, 0], dtype=int32)
    """
    found = lists == np.asarray(targets)[:, None]
    return np.where(found.any(1), found.argmax(1) + 1, 0).astype(np.int32)


def hit_rate(position: Ints, k: int) -> Floats:
    """HR@k: 1 if the target is among the first k. With one target a case this is also Recall@k.

    >>> hit_rate(np.array([1, 3, 0]), k=2)
    array([1., 0., 0.])
    """
    return ((position > 0) & (position <= k)).astype(np.float64)


def ndcg(position: Ints, k: int) -> Floats:
    """NDCG@k = 1 / log2(position + 1) for a hit, else 0; the ideal DCG of one target is 1.

    >>> ndcg(np.array([1, 3, 0]), k=3)
    array([1. , 0.5, 0. ])
    """
    return hit_rate(position, k) / np.log2(np.maximum(position, 1) + 1)


def mrr(position: Ints, k: int) -> Floats:
    """MRR@k = 1 / position for a hit, else 0.

    >>> mrr(np.array([1, 4, 0]), k=5)
    array([1.  , 0.25, 0.  ])
    """
    return hit_rate(position, k) / np.maximum(position, 1)


def average_precision(position: Ints, k: int) -> Floats:
    """AP@k, whose mean is MAP@k: mean of the precision at the place of each target. With one target it equals MRR@k.

    >>> average_precision(np.array([1, 4, 0]), k=5)
    array([1.  , 0.25, 0.  ])
    """
    return mrr(position, k)


def coverage(lists: Ints, k: int, items: int) -> float:
    """Catalogue coverage@k = |union of the first k of all lists| / ``items``, the number of items of the dataset.

    >>> coverage(np.array([[1, 2], [2, 3], [4, 0]]), k=2, items=8)
    0.5
    """
    return int(np.count_nonzero(np.unique(lists[:, :k]))) / items


def serendipity(position: Ints, targets: Ints, popular: Ints, k: int) -> Floats:
    """Serendipity@k: 1 for a hit that the popular list would not have made, else 0.

    Args:
        popular: items by popularity, [≥ k] the same list for everybody, or [n, ≥ k] one a case; only the first k of
            each count.

    >>> serendipity(np.array([1, 1, 0]), np.array([7, 8, 9]), popular=np.array([8, 9, 7]), k=2)
    array([1., 0., 0.])
    """
    expected = np.broadcast_to(popular, (len(targets), popular.shape[-1]))[:, :k]
    return hit_rate(position, k) * (expected != np.asarray(targets)[:, None]).all(1)


def novelty(lists: Ints, counts: Ints, k: int) -> Floats:
    """Novelty@k: mean over the list of the self-information −log2(count / Σ counts), in bits; 0 for an empty list.

    Args:
        counts: [N + 1] interactions of each item, index 0 is padding; an item without any counts as one.

    >>> novelty(np.array([[1, 2], [3, 0]]), np.array([0, 4, 2, 2]), k=2)
    array([1.5, 2. ])
    """
    bits = np.log2(max(int(counts[1:].sum()), 1)) - np.log2(np.maximum(counts, 1))
    listed = lists[:, :k] > 0
    total = np.where(listed, bits[lists[:, :k]], 0.0).sum(1)
    return total / np.maximum(listed.sum(1), 1)


def most_popular(counts: Ints, k: int) -> NDArray[np.int64]:
    """The k most popular items (fewer in a smaller catalogue), equal counts by lower index.

    >>> most_popular(np.array([0, 4, 2, 4]), k=2)
    array([1, 3])
    """
    return np.argsort(-counts[1:], kind="stable")[:k] + 1
