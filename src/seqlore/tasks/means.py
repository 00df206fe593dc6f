"""Damped averages of stars: over all, of each item, and of each user beside them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqlore.tasks.split import Pairs, TaskSplit

Floats = NDArray[np.float64]


class Means(NamedTuple):
    """Of some training events.

    Attributes: mean: of all stars. items: [size], each item's average less the mean, damped. users: the same of the
        users, less the items' averages. left: [n], what all three leave of the stars.
    """

    mean: float
    items: Floats
    users: Floats
    left: Floats

    @classmethod
    def of(cls, tasks: TaskSplit, pairs: Pairs, damping: float) -> Means:
        """Args: damping: ratings at the mean that each user and item is taken to have too."""
        stars, users, items = tasks.ratings[pairs.rows].astype(np.float64), pairs.users, pairs.items
        mean = float(stars.mean()) if len(stars) else 0.0

        def damped(group: NDArray[np.integer], values: Floats, size: int) -> Floats:
            return np.bincount(group, values, size) / (np.bincount(group, minlength=size) + damping)

        of_items = damped(items, stars - mean, tasks.split.catalog.size)
        above = stars - mean - of_items[items]
        of_users = damped(users, above, tasks.split.users.size)
        return cls(mean, of_items, of_users, above - of_users[users])
