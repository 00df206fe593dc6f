"""What tables say of stars, for prompts to tell: an item's average; how a user rates beside others, in general, lately,
and what is like the item.

Chu et al. 2023 (arXiv 2308.10837), section "Data Phase": user features in tables are written out as text. Stars have no
such table, so it is counted from the training part. What is told of a training event is counted on the events before it
alone, as ordered target statistics are (Prokhorenkova et al., "CatBoost", NeurIPS 2018, arXiv 1706.09516). To leave out
its own stars and count all others would not do: within a user or an item such an average falls as the event's own stars
rise, so that who knows the whole can read them off; out of ten folds it still does, where an item has few ratings.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqlore.tasks.likeness import Likeness
from seqlore.tasks.means import Means
from seqlore.tasks.split import Pairs, TaskSplit

Floats = NDArray[np.float64]
#: What the mean of all stars is taken to be before the first: the middle of 1 … 5, as one rating.
MIDDLE = 3.0


class Told(NamedTuple):
    """Of events, [n] each.

    Attributes: item: its average stars. user: how far above items' averages the user rates. lately: the same of the
        latest events. alike: how far above that own average the user rates what is like the item.
    """

    item: Floats
    user: Floats
    lately: Floats
    alike: Floats


class Averages:
    """Attributes: mean: of all stars in training. items: [size], each item's average less the mean, damped."""

    def __init__(self, tasks: TaskSplit, damping: float = 10.0, lately: int = 10) -> None:
        """Args: damping: ratings at the mean that each user and item is taken to have too. lately: latest events."""
        self.tasks, self.damping, self.lately = tasks, damping, lately
        self._stars = tasks.ratings.astype(np.float64)
        train = tasks.train
        self.mean, self.items, self._users, _ = Means.of(tasks, train, damping)
        self._earlier = self._before(_in_time(train), self._stars[train.rows])

    @cached_property
    def _likeness(self) -> Likeness:
        return Likeness(self.tasks, self.damping)

    def _before(self, order: NDArray[np.int64], stars: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """(item, user, lately) as :class:`Told` has them, of each training event and those that stand before it in
        ``order``; and its own stars above such an average of the item."""
        train, damping = self.tasks.train, self.damping
        sums, n = _running(np.zeros(len(order), np.int64), stars, order)
        mean = (MIDDLE + sums) / (1 + n)
        sums, n = _running(train.items, stars, order)
        item = mean + (sums - n * mean) / (n + damping)
        sums, n = _running(train.users, above := stars - item, order)
        start, total = self._latest(train), np.r_[0.0, np.cumsum(above)]
        return item, sums / (n + damping), (total[train.at] - total[start]) / (train.at - start + 2), above

    def _latest(self, pairs: Pairs) -> NDArray[np.int64]:
        """Where the latest events before each pair begin."""
        return np.maximum(pairs.sequences.offsets[:-1][pairs.of], pairs.at - self.lately)

    def of(self, pairs: Pairs) -> Told:
        """What is told of each pair.

        Of a training event all is of the training events before it; of a held-out one the first two are of the
        training part, and the others of what the user did before, held-out events with it.
        """
        if pairs.sequences is self.tasks.train.sequences:
            item, user, lately, above = self._earlier
            item, user, lately = (each[pairs.at] for each in (item, user, lately))
            return Told(item, user, lately, self._likeness.of(pairs, above, user, training=True))
        seen = pairs.sequences
        assert seen.rows is not None
        start = self._latest(pairs)
        total = np.r_[0.0, np.cumsum(above := self._stars[seen.rows] - self.mean - self.items[seen.items])]
        lately = (total[pairs.at] - total[start]) / (pairs.at - start + 2)
        user = self._users[pairs.users]
        alike = self._likeness.of(pairs, above, user, training=False)
        return Told(self.mean + self.items[pairs.items], user, lately, alike)

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
