"""Every prefix of a sequence in one row, so that what its examples share is computed once.

An example of E4SRec is an instruction, the items before a cut, and a response whose last word's state is compared with
the items. The examples of one sequence differ in where they are cut. Their row holds instruction, items, and then the
response once a cut; each response sees the instruction, the items before its cut, and itself, at the positions that it
would have in a row of its own. The states are those of single rows (a test holds this), and a sequence of n items costs
n + n·(words of the response) positions in place of n·(n/2 + words of both).
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
