"""What tables say of stars, for prompts to tell: an item's average, how a user rates beside others, and how lately.

Chu et al. 2023 (arXiv 2308.10837), section "Data Phase": user features in tables are written out as text. Stars have no
such table, so it is counted from the training part. What is told of a training event is counted on the events before it
alone, as ordered target statistics are (Prokhorenkova et al., "CatBoost", NeurIPS 2018, arXiv 1706.09516). To leave out
its own stars and count all others would not do: within a user or an item such an average falls as the event's own stars
rise, so that who knows the whole can read them off; out of ten folds it still does, where an item has few ratings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqlore.tasks.split import Pairs, TaskSplit

Floats = NDArray[np.float64]
#: What the mean of all stars is taken to be before the first: the middle of 1 … 5, as one rating.
MIDDLE = 3.0


class Averages:
    """Attributes: mean: of all stars in training. items: [size], each item's average less the mean, damped."""

    def __init__(self, tasks: TaskSplit, damping: float = 10.0, lately: int = 10) -> None:
        """Args: damping: ratings at the mean that each user and item is taken to have too. lately: latest events."""
        self.tasks, self.damping, self.lately = tasks, damping, lately
        self._stars = tasks.ratings.astype(np.float64)
        train = tasks.train
        stars = self._stars[train.rows]
        self.mean = float(stars.mean())
        size, users = tasks.split.catalog.size, len(tasks.split.users) + 1
        counts = np.bincount(train.items, minlength=size)
        self.items = np.bincount(train.items, stars - self.mean, size) / (counts + damping)
        above = np.bincount(train.users, stars - self.mean - self.items[train.items], users)
        self._users = above / (np.bincount(train.users, minlength=users) + damping)
        self._earlier = self._before(_in_time(train), stars)

    def _before(self, order: NDArray[np.int64], stars: Floats) -> tuple[Floats, Floats, Floats]:
        """What :meth:`of` tells of each training event: of those that stand before it in ``order``."""
        train, damping = self.tasks.train, self.damping
        sums, n = _running(np.zeros(len(order), np.int64), stars, order)
        mean = (MIDDLE + sums) / (1 + n)
        sums, n = _running(train.items, stars, order)
        item = mean + (sums - n * mean) / (n + damping)
        sums, n = _running(train.users, above := stars - item, order)
        start, total = self._latest(train), np.r_[0.0, np.cumsum(above)]
        return item, sums / (n + damping), (total[train.at] - total[start]) / (train.at - start + 2)

    def _latest(self, pairs: Pairs) -> NDArray[np.int64]:
        """Where the latest events before each pair begin."""
        return np.maximum(pairs.sequences.offsets[:-1][pairs.of], pairs.at - self.lately)

    def of(self, pairs: Pairs) -> tuple[Floats, Floats, Floats]:
        """(average stars of the item, of the user above items' averages, the same of the latest events), [n] each.

        Of a training event all three are of the training events before it; of a held-out one the first two are of the
        training part, and the third of what the user did before, held-out events with it.
        """
        if pairs.sequences is self.tasks.train.sequences:
            item, user, lately = self._earlier
            return item[pairs.at], user[pairs.at], lately[pairs.at]
        seen = pairs.sequences
        assert seen.rows is not None
        start = self._latest(pairs)
        total = np.r_[0.0, np.cumsum(self._stars[seen.rows] - self.mean - self.items[seen.items])]
        lately = (total[pairs.at] - total[start]) / (pairs.at - start + 2)
        return self.mean + self.items[pairs.items], self._users[pairs.users], lately

    @staticmethod
    def told() -> list[str]:
        """All that prompts can say: tenths of stars, an average or a difference of two."""
        return [f"{n / 10}" for n in range(-40, 51)]


def _in_time(train: Pairs) -> NDArray[np.int64]:
    """An order of the training part in which each user's events stand as in their sequence.

    By time where that is known, else by how much of its user's sequence stands before an event.
    """
    sequences, place = train.sequences, np.arange(len(train))
    of = train.of
    if sequences.timestamps is None:
        return np.lexsort((place, (place - sequences.offsets[:-1][of]) / sequences.lengths[of]))
    # An order by position may disagree with times: nothing comes before what stands before it.
    times = np.asarray(sequences.timestamps, np.int64)
    latest = np.maximum.accumulate(of * (span := int(np.ptp(times)) + 1) + times - times.min(initial=0)) - of * span
    return np.lexsort((place, latest))


def _running(group: NDArray[np.integer], values: Floats, order: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(sum, number) of the values of each event's group that stand before it in ``order``."""
    turn = order[np.argsort(group[order], kind="stable")]
    own, place = group[turn], np.arange(len(turn))
    first = np.maximum.accumulate(np.where(np.r_[True, own[1:] != own[:-1]][: len(own)], place, 0))
    before = np.cumsum(values[turn]) - values[turn]
    sums, n = np.zeros(len(turn)), np.zeros(len(turn))
    sums[turn], n[turn] = before - before[first], place - first
    return sums, n
