"""Every prefix of a sequence in one row, so that what its examples share is computed once.

An example of E4SRec is an instruction, the items before a cut, and a response whose last word's state is compared with
the items. The examples of one sequence differ in where they are cut. Their row holds instruction, items, and then the
response once a cut; each response sees the instruction, the items before its cut, and itself, at the positions that it
would have in a row of its own. The states are those of single rows (a test holds this), and a sequence of n items costs
n + n·(words of the response) positions in place of n·(n/2 + words of both).

A sequence of more than L items is learned in windows of L that overlap by half, so that each later prefix is read from
its latest L/2 to L items; of windows that move on an item at a time no two could share a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.language.tokens import padded

#: In ``copies``: what all responses share, and padding.
SHARED, PAD = -1, -2


class PrefixPlan(NamedTuple):
    """Which prefixes of which sequence each of n rows holds, int64 [n] each."""

    #: Number of the sequence.
    sequence: NDArray[np.int64]
    #: Its first item that is read.
    start: NDArray[np.int64]
    #: Items of the sequence before the target of the row's first prefix.
    cut: NDArray[np.int64]
    #: How many there are, each an item longer than the one before.
    prefixes: NDArray[np.int64]

    @classmethod
    def all(cls, lengths: NDArray[np.integer], longest: int) -> PrefixPlan:
        """Every prefix of sequences of ``lengths`` [n], in rows of at most ``longest`` items."""
        of = np.repeat(np.arange(len(lengths)), lengths)
        cuts = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        step = (longest + 1) // 2
        starts = -(-np.maximum(cuts - longest, 0) // step) * step
        first = np.flatnonzero((np.diff(of, prepend=-1) != 0) | (np.diff(starts, prepend=-1) != 0))
        return cls(of[first], starts[first], cuts[first], np.diff(first, append=len(of)))

    @classmethod
    def at(cls, cuts: NDArray[np.integer], sequences: NDArray[np.integer], longest: int) -> PrefixPlan:
        """One prefix of each sequence, read from its latest ``longest`` items."""
        found = np.asarray(cuts, np.int64)
        return cls(np.asarray(sequences, np.int64), np.maximum(found - longest, 0), found, np.ones_like(found))

    def take(self, index: NDArray[np.integer]) -> PrefixPlan:
        """The rows at ``index``."""
        return PrefixPlan(*(field[index] for field in self))

    def apart(self) -> PrefixPlan:
        """The same prefixes, each in a row of its own."""
        each = self.take(np.repeat(np.arange(len(self.prefixes)), self.prefixes))
        within = np.arange(len(each.cut)) - np.repeat(np.cumsum(self.prefixes) - self.prefixes, self.prefixes)
        return each._replace(cut=each.cut + within, prefixes=np.ones_like(each.prefixes))

    def batches(self, examples: int, response: int, rng: np.random.Generator) -> list[PrefixPlan]:
        """Rows of like length together, so many that they have about ``examples`` prefixes, in a random order.

        Args: response: its words.
        """
        order = np.lexsort((rng.random(len(self.cut)), self.cut - self.start + self.prefixes * (response + 1)))
        counts = self.prefixes[order]
        batch = (np.cumsum(counts) - counts) // examples
        parts = np.split(order, np.flatnonzero(np.diff(batch)) + 1) if len(order) else []
        rng.shuffle(parts)  # type: ignore[arg-type]
        return [self.take(part) for part in parts]


class PrefixRows(NamedTuple):
    """B rows of L tokens, int64 [B, L] each."""

    tokens: Tensor
    #: Where each would stand in a row of its own.
    positions: Tensor
    #: Number of its response; SHARED for instruction and items, PAD.
    copies: Tensor
    #: Last position of what is shared that it sees; −1 = none.
    seen: Tensor
    #: The item that is predicted behind it; 0 = none.
    targets: Tensor

    @property
    def alone(self) -> bool:
        """Each row holds one response, so that the usual causal mask and positions serve."""
        return int(self.copies.max()) < 1

    def mask(self) -> Tensor:
        """bool [B, L, L]: which position (last axis) each one sees."""
        key = self.positions[:, None, :]
        common = (self.copies == SHARED)[:, None, :] & (key <= self.seen[:, :, None])
        same = (self.copies[:, None, :] == self.copies[:, :, None]) & (self.copies != SHARED)[:, None, :]
        return common | (same & (key <= self.positions[:, :, None]))


def prefix_row(
    before: Sequence[int],
    items: NDArray[np.integer],
    cuts: NDArray[np.integer],
    targets: NDArray[np.integer],
    after: Sequence[int],
) -> tuple[NDArray[np.int64], ...]:
    """The fields of one row, [L] each.

    Args: before, after: words. items: tokens [T]. cuts: how many of the items each response follows, [c], each at most
        T. targets: what comes after each, [c].
    """
    shared, words = np.arange(len(before) + len(items)), np.arange(len(after))
    first = len(before) + np.asarray(cuts, np.int64)  # where each response begins
    asked = np.zeros((len(first), len(after)), np.int64)
    asked[:, -1] = targets
    return (
        np.concatenate([before, items, np.tile(after, len(first))]).astype(np.int64),
        np.concatenate([shared, (first[:, None] + words).ravel()]),
        np.concatenate([np.full(len(shared), SHARED), np.repeat(np.arange(len(first)), len(after))]),
        np.concatenate([shared, np.repeat(first - 1, len(after))]),
        np.concatenate([np.zeros(len(shared), np.int64), asked.ravel()]),
    )


def prefix_rows(rows: Sequence[tuple[NDArray[np.int64], ...]]) -> PrefixRows:
    """A batch of rows, padded on the right."""
    tokens, positions, copies, seen, targets = ([row[field] for row in rows] for field in range(5))
    numbers = padded([each - PAD for each in copies], np.int64) + PAD  # pads are 0 before the shift, and PAD behind it
    arrays = (padded(tokens, np.int64), padded(positions, np.int64), numbers, padded(seen, np.int64))
    return PrefixRows(*(torch.from_numpy(each) for each in (*arrays, padded(targets, np.int64))))
