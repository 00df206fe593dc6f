"""Batches of ragged sequences: drawn by length under a token budget, each padded to its own longest row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlore.data.sequences import Sequences


def windows(sequences: Sequences, length: int, which: Literal["last", "all"] = "all") -> Sequences:
    """Sequences cut to windows of at most ``length`` events that together cover them.

    "last" keeps the latest window only, as SASRec does; "all" keeps also the earlier events, in windows that end
    where the next begins, so that no event of a long history is thrown away.
    """
    if which == "last" or sequences.lengths.max(initial=0) <= length:
        return sequences.last(length)
    count = np.maximum(-(-sequences.lengths // length), 1)
    of = np.repeat(np.arange(len(sequences)), count)
    back = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)  # 0 = latest window
    stops = sequences.offsets[1:][of] - back * length
    return sequences.slice(np.maximum(stops - length, sequences.offsets[:-1][of]), stops, of)


def shuffle_ties(sequences: Sequences, rng: np.random.Generator) -> Sequences:
    """Items of each run of neighbours at one time in a new order; only items, times and users are kept.

    Where times are not known nothing is tied.
    """
    time = sequences.timestamps
    if time is None or not len(time):
        return sequences
    starts = np.r_[True, (time[1:] != time[:-1]) | (np.diff(sequences.row_ids) != 0)]
    order = np.lexsort((rng.random(len(time)), np.cumsum(starts)))
    return Sequences(sequences.items[order], sequences.offsets, sequences.users, timestamps=time)


def plan(lengths: NDArray[np.integer], tokens: int, rng: np.random.Generator | None) -> list[NDArray[np.int64]]:
    """Index arrays of batches with rows of like length and at most ``tokens`` padded positions each.

    With ``rng`` rows are shuffled among equals and batches are shuffled; without, everything is by length.
    Every row is in exactly one batch; a row longer than ``tokens`` has a batch of its own.
    """
    noise = rng.random(len(lengths)) if rng else np.arange(len(lengths))
    order = np.lexsort((noise, lengths))
    batches, start = [], 0
    widths = np.maximum(lengths[order], 1)
    while start < len(order):
        # Rows ascend in length, so the batch's width is that of its last row: the most rows r with r·width(r) ≤ tokens.
        reach = widths[start : start + max(1, tokens // int(widths[start]))]
        fits = np.flatnonzero(np.arange(1, len(reach) + 1) * reach <= tokens)
        stop = start + (int(fits[-1]) + 1 if len(fits) else 1)
        batches.append(order[start:stop])
        start = stop
    if rng:
        rng.shuffle(batches)  # type: ignore[arg-type]
    return batches


def padded_batches(
    sequences: Sequences, tokens: int, rng: np.random.Generator | None = None, shard: tuple[int, int] = (0, 1)
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """(index [B], items int64 [B, T] padded with 0 on the right, users int64 [B]) of each batch.

    ``shard`` = (rank, world) deals the batches out to processes; all get the same number.
    """
    batches = plan(sequences.lengths, tokens, rng)
    rank, world = shard
    for index in batches[rank : len(batches) - len(batches) % world if world > 1 else None : world]:
        part = sequences.take(index)
        yield index, torch.from_numpy(part.padded().astype(np.int64)), torch.from_numpy(part.users.astype(np.int64))
