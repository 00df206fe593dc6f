"""Documents of several corpora → an endless stream of tokens → blocks of one length.

In each pass every document of the heaviest corpus is read once, those of others in proportion to their weights, all
in an order drawn anew. Nothing is padded and nothing is cut off: a document goes on in the next block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data.sequences import Sequences


class PackedTokens:
    """Batches of blocks, a function of their number alone, so that a resumed run reads what the first would have.

    Attributes: documents: token ids of all corpora, one after another.
    """

    def __init__(
        self, parts: Sequence[Sequences], weights: Sequence[float], *, length: int, rows: int, seed: int
    ) -> None:
        """Args: parts, weights: documents of each corpus, and how often they are read. length: predictions of a block.

        rows: blocks of a batch. seed: of the order.
        """
        self.documents = Sequences.concat(parts)
        self._rate = np.repeat(np.asarray(weights) / max(weights), [len(part) for part in parts])
        self._length, self._rows, self._seed = length, rows, seed
        self._starts = [0]  # of each pass known so far, in the stream
        self._pass, self._tokens = -1, np.zeros(0, np.int32)

    def batch(self, number: int) -> Tensor:
        """int64 [rows, length + 1], the ``number``-th from 0; the last token of a block is the first of the next."""
        start = number * self._rows * self._length
        flat = self._between(start, start + self._rows * self._length + 1)
        rows = np.lib.stride_tricks.sliding_window_view(flat, self._length + 1)[:: self._length]
        return torch.from_numpy(rows.astype(np.int64))

    def _between(self, start: int, stop: int) -> NDArray[np.int32]:
        while self._starts[-1] < stop:
            length = self.documents.lengths[self._order(len(self._starts) - 1)].sum()
            self._starts.append(self._starts[-1] + int(length))
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        last = int(np.searchsorted(self._starts, stop, side="left"))
        parts = []
        for number in range(first, last):
            begin = self._starts[number]
            parts.append(self._stream(number)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts)

    def _order(self, number: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self._seed, number))
        times = np.floor(self._rate) + (rng.random(len(self._rate)) < self._rate % 1)
        return rng.permutation(np.repeat(np.arange(len(self._rate)), times.astype(np.int64)))

    def _stream(self, number: int) -> NDArray[np.int32]:
        if number != self._pass:
            self._pass, self._tokens = number, self.documents.take(self._order(number)).items
        return self._tokens
