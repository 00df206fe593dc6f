"""What a search may expect of a prefix, so that beams go where single titles are likely and not where many share one.

A beam keeps the likeliest prefixes, but "Neutrogena" may be likely because a hundred titles begin with it, each of them
unlikely. The likeliest title below a node has about the node's probability times the largest share that one item below
it has in training. Beams are chosen by that; scores and lists are as before.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.language.trie import Trie


def largest_share(trie: Trie, counts: NDArray[np.integer]) -> Tensor:
    """float32 [nodes]: log of the largest share that one title has in what was bought below each node.

    Args: counts: of items in training, by dense index; each counts once more, so that none is impossible.
    """
    owner = torch.repeat_interleave(trie.first_item.diff().long())  # the leaf of each of ``trie.items``
    worth = torch.as_tensor(counts, dtype=torch.float64, device=owner.device)[trie.items] + 1
    total = torch.zeros(len(trie), dtype=torch.float64, device=owner.device).index_add_(0, owner, worth)
    most = total.clone()  # a leaf is one title
    for start, stop in zip(trie.levels[-2:0:-1], trie.levels[:1:-1], strict=True):  # from the deepest level up
        above = trie.parents(torch.arange(start, stop, device=owner.device))
        total.index_add_(0, above, total[start:stop].clone())
        most.scatter_reduce_(0, above, most[start:stop].clone(), "amax")
    return (most / total).log().float()
