"""What tables say of stars, for prompts to tell: an item's average, how a user rates beside others, and how lately.

Chu et al. 2023 (arXiv 2308.10837), section "Data Phase": user features in tables are written out as text. Stars have no
such table, so it is counted from the training part. What is told of a training event leaves that event's own stars out:
a model that found them there would learn to read them off.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seqlore.tasks.split import Pairs, TaskSplit

Floats = NDArray[np.float64]


class Averages:
    """Attributes: mean: of all stars in training. items: [size], each item's average less the mean, damped."""

    def __init__(self, tasks: TaskSplit, damping: float = 10.0, lately: int = 10) -> None:
        """Args: damping: ratings at the mean that each user and item is taken to have too. lately: latest events."""
        self.tasks, self.damping, self.lately = tasks, damping, lately
        self._stars = tasks.ratings.astype(np.float64)
        train = tasks.train
        self.mean = float(self._stars[train.rows].mean())
        self._item_sum = np.bincount(train.items, self._stars[train.rows] - self.mean, tasks.split.catalog.size)
        self._item_n = np.bincount(train.items, minlength=tasks.split.catalog.size)
        self.items = self._item_sum / (self._item_n + damping)
        left = self._stars[train.rows] - self.mean - self.items[train.items]
        users = len(tasks.split.users) + 1
        self._user_sum = np.bincount(train.users, left, users)
        self._user_n = np.bincount(train.users, minlength=users)

    @cached_property
    def _learned(self) -> NDArray[np.bool_]:
        rows = np.zeros(len(self._stars), bool)
        rows[self.tasks.train.rows] = True
        return rows

    def of(self, pairs: Pairs) -> tuple[Floats, Floats, Floats]:
        """(average stars of the item, of the user above items' averages, the same of the events before), [n] each."""
        own = self._learned[pairs.rows].astype(np.float64)
        stars = self._stars[pairs.rows] - self.mean
        n = self._item_n[pairs.items] - own + self.damping
        item = self.mean + (self._item_sum[pairs.items] - own * stars) / n
        above = own * (stars - self.items[pairs.items])
        user = (self._user_sum[pairs.users] - above) / (self._user_n[pairs.users] - own + self.damping)
        seen = pairs.sequences
        assert seen.rows is not None
        total = np.r_[0.0, np.cumsum(self._stars[seen.rows] - self.mean - self.items[seen.items])]
        start = np.maximum(seen.offsets[:-1][pairs.of], pairs.at - self.lately)
        return item, user, (total[pairs.at] - total[start]) / (pairs.at - start + 2)
