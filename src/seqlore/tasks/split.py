"""One split for all families of tasks: what is held out of one is held out of every other.

P5 (Geng et al., RecSys 2022, arXiv 2203.13366) draws the test part of ratings, explanations and reviews at random and
that of sequential recommendation from the end of each user, so that its one model trains on pairs of user and item
that another of its tasks is tested on. Here a family takes its cases from the one split of the data, and
:func:`one_split` asserts that no held-out pair is among those that anything learns from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Cases, Sequences, Split
from seqlore.errors import DataError

Part = Literal["train", "valid", "test"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Events that are asked about, each with what its user did before.

    Attributes: sequences: with rows. at: int64 [n], places in ``sequences.items``, one a pair.
    """

    sequences: Sequences
    at: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.sequences.rows is None:
            raise DataError("pairs need the rows of their events: make the split with seqlore.data")

    def __len__(self) -> int:
        return len(self.at)

    @cached_property
    def of(self) -> NDArray[np.int64]:
        """int64 [n], the sequence of each pair."""
        return np.searchsorted(self.sequences.offsets, self.at, side="right") - 1

    @property
    def users(self) -> NDArray[np.int32]:
        """int32 [n]."""
        return self.sequences.users[self.of]

    @property
    def items(self) -> NDArray[np.int32]:
        """int32 [n]."""
        return self.sequences.items[self.at]

    @property
    def rows(self) -> NDArray[np.int64]:
        """int64 [n], in ``Dataset.interactions``."""
        assert self.sequences.rows is not None
        return self.sequences.rows[self.at]

    @property
    def keys(self) -> NDArray[np.int64]:
        """int64 [n], one number a pair of user and item."""
        return self.users.astype(np.int64) << 32 | self.items

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Pairs:
        """The pairs at ``index``."""
        return Pairs(self.sequences, self.at[index])

    def some(self, n: int | None, seed: int) -> Pairs:
        """At most ``n`` of them, drawn by ``seed``, in the order in which they stand; None = all."""
        if n is None or len(self) <= n:
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), n, replace=False)))

    def histories(self, at_most: int | None = None) -> Sequences:
        """What stands before each pair, n sequences; the latest ``at_most`` events."""
        starts = self.sequences.offsets[:-1][self.of]
        if at_most is not None:
            starts = np.maximum(starts, self.at - at_most)
        return self.sequences.slice(starts, self.at, self.of)

    def cases(self) -> Cases:
        """The same as cases of an evaluation."""
        return Cases(self.histories(), self.items, rows=self.rows)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(user, item, row) of each."""
        return zip(self.users.tolist(), self.items.tolist(), self.rows.tolist(), strict=True)


@dataclass(frozen=True, eq=False)
class TaskSplit:
    """What every family learns from and is asked about.

    Attributes:
        split: the split of the data; sequential models are fitted on it.
        train: every event of its training part.
        valid, test: its held-out events, but for those whose pair stands in an earlier part too.
        left_out: how many those are, by part.
    """

    split: Split
    train: Pairs
    valid: Pairs
    test: Pairs
    left_out: dict[str, int] = field(default_factory=dict)

    def part(self, name: Part) -> Pairs:
        """By name."""
        return getattr(self, name)

    @cached_property
    def ratings(self) -> NDArray[np.float32]:
        """float32 [interactions], the stars of each row of the data.

        Raises: DataError: there are none, or one is no whole number from 1 to 5.
        """
        events = self.split.dataset.interactions
        if "rating" not in events.columns or events["rating"].null_count():
            raise DataError(f"{self.split.dataset.name}: tasks about stars need a rating on every interaction")
        ratings = events["rating"].to_numpy()
        if (strange := ~np.isin(ratings, (1, 2, 3, 4, 5))).any():
            row = int(strange.argmax())
            raise DataError(
                f"{self.split.dataset.name}: the rating at row {row + 1} is {ratings[row]:g}; tasks about stars need "
                "whole numbers from 1 to 5, so round or rescale the column"
            )
        return ratings

    def texts(self, column: str) -> list[str]:
        """[interactions], a text column ("review", "summary", …), "" where it is empty.

        Raises: DataError: there is no such column, or nothing in it.
        """
        events = self.split.dataset.interactions
        if column not in events.columns or events[column].null_count() == len(events):
            raise DataError(f"{self.split.dataset.name}: no interaction has a {column!r}, which this family is about")
        return events[column].fill_null("").to_list()

    def check(self) -> None:
        """Raises: DataError: a held-out pair, or its row, is in an earlier part."""
        steps: tuple[tuple[Part, Part], ...] = (("train", "valid"), ("train", "test"), ("valid", "test"))
        for earlier, later in steps:
            a, b = self.part(earlier), self.part(later)
            if len(shared := np.intersect1d(a.keys, b.keys)) or np.intersect1d(a.rows, b.rows).size:
                raise DataError(f"{len(shared)} pairs of user and item are in the {earlier} part and in {later}")


def one_split(split: Split) -> TaskSplit:
    """The pairs of a split. A held-out event whose pair is in an earlier part (bought again) is asked by no family.

    Raises: DataError: the split has no test cases.
    """
    if split.test is None or not len(split.test):
        raise DataError("this split has no test cases left: make the tasks from the split that has them")
    train = Pairs(split.train, np.arange(len(split.train.items)))
    nothing = Sequences(np.zeros(0, np.int32), np.zeros(1, np.int64), rows=np.zeros(0, np.int64))
    valid = _held(split.valid) if split.valid is not None and len(split.valid) else Pairs(nothing, nothing.offsets[:0])
    test = _held(split.test)
    new_valid = ~np.isin(valid.keys, train.keys)
    new_test = ~np.isin(test.keys, np.concatenate([train.keys, valid.keys]))
    out = TaskSplit(
        split,
        train,
        valid.take(new_valid),
        test.take(new_test),
        {"valid": int((~new_valid).sum()), "test": int((~new_test).sum())},
    )
    out.check()
    return out


def _held(cases: Cases) -> Pairs:
    joined = cases.joined()
    return Pairs(joined, joined.offsets[1:] - 1)
