"""Ragged sequences and evaluation cases: the two containers that every model and metric reads.

A sequence is stored once, flat, with offsets; nothing here pads, and no prefix is ever written out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Ragged item sequences, oldest event first.

    Attributes:
        items: int32 [m], dense item indices of all sequences one after another (0 never occurs, except as
            an unknown item in a history that came from outside).
        offsets: int64 [n + 1]; sequence ``i`` is ``items[offsets[i]:offsets[i + 1]]``.
        users: int32 [n], dense user index of each sequence, 0 for a stranger.
        rows: int64 [m] or None, row of each event in ``Dataset.interactions``, where its review, rating and
            everything else that was recorded about it can be found.
        timestamps: int64 [m] or None, seconds.
        ratings: float32 [m] or None.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    users: NDArray[np.int32] = field(default=None)  # type: ignore[assignment]
    rows: NDArray[np.int64] | None = None
    timestamps: NDArray[np.int64] | None = None
    ratings: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.users is None:
            object.__setattr__(self, "users", np.zeros(len(self.offsets) - 1, np.int32))
        if len(self.users) != len(self.offsets) - 1 or self.offsets[-1] != len(self.items):
            raise ValueError("offsets, users and items of a Sequences do not fit together")

    @classmethod
    def from_lists(cls, lists: Iterable[Iterable[int]], users: Iterable[int] | None = None) -> Sequences:
        """Build from one iterable of dense item indices per sequence."""
        arrays = [np.asarray(list(each), np.int32) for each in lists]
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(a) for a in arrays], out=offsets[1:])
        items = np.concatenate(arrays) if arrays else np.zeros(0, np.int32)
        return cls(items, offsets, None if users is None else np.asarray(list(users), np.int32))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[np.int32]:
        return self.items[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[i] for i in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 [n]."""
        return np.diff(self.offsets)

    @property
    def row_ids(self) -> NDArray[np.int64]:
        """int64 [m], the sequence to which each event belongs."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def slice(self, starts: Ints, stops: Ints, of: Ints | None = None) -> Sequences:
        """Sequences made of ``items[starts[j]:stops[j]]`` (flat positions), with the users of sequences ``of``.

        Every aligned array is cut alike. ``of`` defaults to all sequences in order.
        """
        starts, stops = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
        lengths = np.maximum(stops - starts, 0)
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        flat = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Sequences(
            items=self.items[flat],
            offsets=offsets,
            users=self.users if of is None else self.users[of],
            rows=None if self.rows is None else self.rows[flat],
            timestamps=None if self.timestamps is None else self.timestamps[flat],
            ratings=None if self.ratings is None else self.ratings[flat],
        )

    def take(self, index: Ints | NDArray[np.bool_] | slice) -> Sequences:
        """The sequences at ``index`` (int array, bool mask or slice), in that order."""
        index = np.arange(len(self))[index]
        return self.slice(self.offsets[:-1][index], self.offsets[1:][index], index)

    def last(self, n: int) -> Sequences:
        """Each sequence cut to its latest ``n`` events."""
        return self.slice(np.maximum(self.offsets[:-1], self.offsets[1:] - n), self.offsets[1:])

    def drop_last(self, n: int = 1) -> Sequences:
        """Each sequence without its latest ``n`` events (possibly empty)."""
        return self.slice(self.offsets[:-1], np.maximum(self.offsets[:-1], self.offsets[1:] - n))

    def where(self, keep: NDArray[np.bool_]) -> Sequences:
        """Events for which ``keep`` (bool [m]) holds; sequences may become empty, none disappears."""
        kept = np.concatenate([[0], np.cumsum(keep)])
        return Sequences(
            items=self.items[keep],
            offsets=kept[self.offsets].astype(np.int64),
            users=self.users,
            rows=None if self.rows is None else self.rows[keep],
            timestamps=None if self.timestamps is None else self.timestamps[keep],
            ratings=None if self.ratings is None else self.ratings[keep],
        )

    def padded(self, length: int | None = None) -> NDArray[np.int32]:
        """int32 [n, length], latest ``length`` events, padded with 0 on the right (default: the longest)."""
        cut = self if length is None else self.last(length)
        out = np.zeros((len(self), length or int(self.lengths.max(initial=0))), np.int32)
        out[cut.row_ids, np.arange(len(cut.items)) - np.repeat(cut.offsets[:-1], cut.lengths)] = cut.items
        return out

    def counts(self, size: int) -> NDArray[np.int64]:
        """int64 [size], how often each item index occurs."""
        return np.bincount(self.items, minlength=size)

    @staticmethod
    def concat(parts: Iterable[Sequences]) -> Sequences:
        """All sequences of ``parts``, one after another. Aligned arrays survive where every part has them."""
        parts = list(parts)
        starts = np.cumsum([0] + [len(p.items) for p in parts[:-1]])

        def join(name: str) -> np.ndarray | None:
            arrays = [getattr(p, name) for p in parts]
            return None if any(a is None for a in arrays) else np.concatenate(arrays)

        return Sequences(
            items=join("items"),  # type: ignore[arg-type]
            offsets=np.concatenate([[0], *(p.offsets[1:] + s for p, s in zip(parts, starts, strict=True))]),
            users=join("users"),  # type: ignore[arg-type]
            rows=join("rows"),
            timestamps=join("timestamps"),
            ratings=join("ratings"),
        )


@dataclass(frozen=True, eq=False)
class Cases:
    """What an evaluation asks: given ``histories``, is ``targets`` recommended?

    Attributes:
        histories: n sequences, with users.
        targets: int32 [n], dense item index of the held-out item.
        candidates: int32 [n, c] or None; where a protocol fixes the items to be ranked (0 pads).
        rows: int64 [n] or None, the target's row in ``Dataset.interactions``.
        timestamps: int64 [n] or None, when the target happened, in seconds.
    """

    histories: Sequences
    targets: NDArray[np.int32]
    candidates: NDArray[np.int32] | None = None
    rows: NDArray[np.int64] | None = None
    timestamps: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Ints | NDArray[np.bool_] | slice) -> Cases:
        """The cases at ``index`` (int array, bool mask or slice), in that order."""
        index = np.arange(len(self))[index]

        def cut(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[index]

        return replace(
            self,
            histories=self.histories.take(index),
            targets=self.targets[index],
            candidates=cut(self.candidates),
            rows=cut(self.rows),
            timestamps=cut(self.timestamps),
        )

    @property
    def digest(self) -> str:
        """16 hex digits over the users and their targets, whatever the order of the cases."""
        pairs = np.stack([self.histories.users, self.targets]).astype("<i4")  # [2, n]
        return hashlib.sha256(pairs[:, np.lexsort(pairs)].tobytes()).hexdigest()[:16]

    def joined(self) -> Sequences:
        """Histories with their target appended as the latest event: how held-out items enter a final fit."""
        h = self.histories
        n, ends = len(self), self.histories.offsets[1:]

        def insert(flat: np.ndarray | None, last: np.ndarray | None) -> np.ndarray | None:
            return None if flat is None or last is None else np.insert(flat, ends, last)

        return Sequences(
            items=insert(h.items, self.targets),  # type: ignore[arg-type]
            offsets=h.offsets + np.arange(n + 1),
            users=h.users,
            rows=insert(h.rows, self.rows),
            timestamps=insert(h.timestamps, self.timestamps),
        )
