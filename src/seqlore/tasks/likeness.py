"""How users rate what is like an item, beside how they rate in general: neighbours by stars, for prompts to tell.

The item-based neighbourhood of Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001
(10.1145/371920.372071): a mean over the nearest items that the user has rated, weighted by the cosine of item vectors,
here those of a truncated SVD of what averages leave of the stars, so that a large catalogue needs no matrix of pairs.

Only what stands before an event is told of it. And as a vector holds a trace of all stars that made it, users are
divided into folds, and a training event is judged by vectors made of the other folds' stars alone; a held-out one by
those of the whole training part.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from seqlore.tasks.means import Means
from seqlore.tasks.split import Pairs, TaskSplit

Floats = NDArray[np.float64]


class Likeness:
    """Vectors of items, and what they tell."""

    def __init__(
        self,
        tasks: TaskSplit,
        averages: float,
        *,
        size: int = 24,
        folds: int = 4,
        nearest: int = 30,
        damping: float = 2.0,
    ) -> None:
        """Args: averages: damping of the averages. size: of vectors. nearest: items that are looked at. damping: of
        their weights, the largest of which is 1: what the user's own average counts beside them."""
        self.tasks, self.nearest, self.damping = tasks, nearest, damping
        train, fold = tasks.train, tasks.train.users % folds
        parts = [train.take(fold != number) for number in range(folds)]
        *self._others, self._all = (self._vectors(part, averages, size) for part in (*parts, train))

    def _vectors(self, pairs: Pairs, averages: float, size: int) -> Floats:
        """[items, d] of length 1, or 0."""
        shape = self.tasks.split.users.size, self.tasks.split.catalog.size
        left = Means.of(self.tasks, pairs, averages).left
        made = sp.csr_matrix((left, (pairs.users, pairs.items)), shape=shape)
        _, spread, axes = randomized_svd(made, min(size, *shape), random_state=0)
        found = (axes * np.sqrt(spread)[:, None]).T
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)

    def of(self, pairs: Pairs, above: Floats, user: Floats, *, training: bool) -> Floats:
        """Stars of what is like each pair's item, above the user's own average; 0 where nothing is. [n].

        Args: above: of every event of ``pairs.sequences``, its stars less the item's average. user: [n], the mean of
            these for the user. training: the pairs are of the training part.
        """
        items, out = pairs.sequences.items, np.zeros(len(pairs))
        places = pairs.sequences.offsets[:-1][pairs.of].tolist(), pairs.at.tolist(), pairs.users.tolist()
        for i, (start, at, who) in enumerate(zip(*places, strict=True)):
            vectors = self._others[who % len(self._others)] if training else self._all
            like = vectors[items[start:at]] @ vectors[items[at]]
            near = np.argpartition(-like, self.nearest)[: self.nearest] if len(like) > self.nearest else slice(None)
            weights = np.maximum(like[near], 0)
            out[i] = weights @ (above[start:at][near] - user[i]) / (weights.sum() + self.damping)
        return out
