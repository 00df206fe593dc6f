"""At which points of their histories texts about users are written: what came before targets, and not more.

Each held-out case has a point of its own. So has each training sample where targets come from a pool; else, or with
``every``, points lie so many events apart, and a sample is given the latest text that was written before its target.
Where targets lie as far apart (``step``), that is one of the very history before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Sequences, Split
from seqlore.errors import ConfigError, DataError
from seqlore.rerank.lists import ListData
from seqlore.rerank.texts import LIMIT

#: Events between texts of a training user where targets are drawn anew in each epoch.
STEP = 10


def text_points(lists: ListData, every: int | None, *, pretraining: bool = False) -> Sequences:
    """The histories from which preference texts are written, each once: what came before targets, and not more.

    Raises: DataError: a user has several sequences, so user and length do not say which events a text may know.
        ConfigError: targets lie at steps, and ``every`` writes no text at some of them.
    """
    split = lists.split
    if every is not None and lists.step is not None and lists.step % every:
        raise ConfigError(
            f"knowledge.every = {every} writes no text at some of the targets of target_step = {lists.step}: make it a "
            "divisor of target_step, or leave it out"
        )
    if every is None and lists.pool is not None:
        phases = (lists.pretraining(), lists) if pretraining else (lists,)
        parts = [phase.cases(epoch).histories for phase in phases for epoch in range(1, lists.pool + 1)]
    else:
        parts = [prefixes(split.train, lists.first - 1, every or lists.step or STEP)]
    held_out = (lists.valid, split.test)
    parts += [_plain(cases.histories) for cases in held_out if cases is not None]
    whole = Sequences.concat([_plain(part) for part in parts])
    _check_nested(Sequences.concat([whole, _plain(split.train)]), split)
    keys = whole.users.astype(np.int64) * LIMIT + whole.lengths
    return whole.take(np.unique(keys, return_index=True)[1])


def _check_nested(histories: Sequences, split: Split) -> None:
    """Each history is the beginning of its user's longest: texts are looked up by user and number of events alone."""
    order = np.lexsort((-histories.lengths, histories.users))  # the longest of each user first
    first = np.r_[True, np.diff(histories.users[order]) > 0][: len(order)]
    longest = np.empty(len(order), np.int64)
    longest[order] = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    place = np.arange(len(histories.items)) - histories.offsets[:-1][histories.row_ids]
    differs = histories.items != histories.items[histories.offsets[longest][histories.row_ids] + place]
    differs &= histories.users[histories.row_ids] > 0  # strangers are refused where texts are held
    if differs.any():
        user = split.users.ids[int(histories.users[histories.row_ids[differs.argmax()]]) - 1]
        raise DataError(
            f"{split.dataset.name}: user {user!r} has several sequences in this split, and a text written from one "
            "could know the targets of another: choose a split with one sequence a user, say user-ratio"
        )


def prefixes(sequences: Sequences, first: int, every: int) -> Sequences:
    """The first ``first``, ``first + every``, … events of each sequence, as long as another follows."""
    count = np.maximum(0, (sequences.lengths - 1 - first) // every + 1)
    of = np.repeat(np.arange(len(sequences)), count)
    place = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    starts = sequences.offsets[:-1][of]
    return sequences.slice(starts, starts + first + every * place, of)


def _plain(histories: Sequences) -> Sequences:
    """Items and users alone, so that sequences of different origin go together."""
    return Sequences(histories.items, histories.offsets, histories.users)


def layers(users: NDArray[np.integer]) -> Iterator[NDArray[np.int64]]:
    """Rows in which every user occurs at most once: the first of each, the second of each, …"""
    order = np.argsort(users, kind="stable")
    begins = np.r_[True, np.diff(users[order]) > 0] if len(order) else np.zeros(0, bool)
    place = np.arange(len(order)) - np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    for j in range(int(place.max(initial=-1)) + 1):
        yield np.sort(order[place == j])
