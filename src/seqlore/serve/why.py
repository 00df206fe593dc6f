"""Why an item follows a history: which of its items have most to do with it.

Where a model has item vectors, their cosine says which are alike. Otherwise the model is asked once more without each
item of the history, and the fall of the score is that item's share ("occlusion", Zeiler & Fergus, ECCV 2014,
arXiv 1311.2901).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seqlore.data import Sequences
from seqlore.models.net import NetRecommender
from seqlore.recommender import HasItemVectors, Model

#: Latest items of a history that are left out in turn.
LATEST = 30


def item_space(model: Model) -> torch.Tensor | None:
    """[size, d] vectors in which items can be compared, if there are any; a net's output bias is no part of them."""
    if isinstance(model, NetRecommender):
        with torch.no_grad():
            return model.net.table().detach()
    return model.item_vectors().detach() if isinstance(model, HasItemVectors) else None


def cosines(space: torch.Tensor, norms: torch.Tensor, items: NDArray[np.integer], others: torch.Tensor) -> torch.Tensor:
    """[len(items), len(others)] cosines of ``items`` (indices) with the rows ``others`` [m, d] of the space."""
    index = torch.from_numpy(np.asarray(items, np.int64)).to(space.device)
    inner = space[index] @ others.T
    return inner / (norms[index][:, None] * others.norm(dim=1)[None]).clamp_min(1e-12)


def occlusion(model: Model, history: NDArray[np.int32], user: int, items: NDArray[np.int32]) -> NDArray[np.float32]:
    """[len(items), min(len(history), LATEST)]: how far each item's score falls without each of the latest events."""
    latest = history[-LATEST:]
    older = history[: len(history) - len(latest)]
    without = [np.concatenate([older, np.delete(latest, i)]) for i in range(len(latest))]
    asked = Sequences.from_lists([history, *without], [user] * (1 + len(without)))
    lists = model.rank(asked, len(items), exclude_seen=False, candidates=np.unique(items))
    scores = np.zeros((len(asked), int(items.max()) + 1), np.float32)  # what is not listed has nothing: 0
    rows, columns = np.nonzero(lists.items)
    scores[rows, lists.items[rows, columns]] = lists.scores[rows, columns]
    scores[asked.lengths == 0] = 0  # what is popular answers an empty history, on a scale of its own
    return (scores[:1] - scores[1:])[:, items].T
