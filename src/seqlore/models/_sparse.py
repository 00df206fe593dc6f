"""What the counting models share: histories as sparse rows, decay by recency, top entries of sparse rows.

Sparse matrices are ``scipy.sparse.csr_array`` in float64, so that a row's result depends neither on the other rows
of its batch nor on the order in which equal terms were added, once it is rounded to the float32 that is ranked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from torch import Tensor

from seqlore.data import Sequences

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: How much an event counts by its step s back from the end of a history of n events (the latest has s = 1):
#: none 1; linear max(1e-4, 1.1 − 0.1 s); relative (n + 1 − s) / n; log 1 / (1 + ln s); harmonic 1 / s;
#: quadratic 1 / s²; exponential 2^(1 − s). All are positive, so that no decay hides an event altogether.
Decay = Literal["none", "linear", "relative", "log", "harmonic", "quadratic", "exponential"]


def decay_weights(decay: Decay, step: NDArray[np.integer] | Floats, length: NDArray[np.integer] | Floats) -> Floats:
    """Weights float64 of events ``step`` back from the end (1 = latest) of histories of ``length`` events."""
    s, n = np.asarray(step, np.float64), np.asarray(length, np.float64)
    match decay:
        case "none":
            return np.ones_like(s)
        case "linear":
            return np.maximum(1e-4, 1.1 - 0.1 * s)
        case "relative":
            return (n + 1.0 - s) / n
        case "log":
            return 1.0 / (1.0 + np.log(s))
        case "harmonic":
            return 1.0 / s
        case "quadratic":
            return 1.0 / s**2
        case "exponential":
            return np.exp2(np.maximum(1.0 - s, -1000.0))


def steps(histories: Sequences) -> NDArray[np.int64]:
    """int64 [m], how far each event is from the end of its history; the latest has 1."""
    return np.repeat(histories.offsets[1:], histories.lengths) - np.arange(len(histories.items))


def distinct(histories: Sequences, known: Mask, last_n: int | None = None) -> Sequences:
    """Histories of known items only, of each item its latest event only, cut to the latest ``last_n`` items.

    Args: known: bool [catalog.size]; False for padding and for items that the model has nothing to say about.
    """
    kept = histories.where(known[histories.items])
    key = kept.row_ids * len(known) + kept.items
    latest = len(key) - 1 - np.unique(key[::-1], return_index=True)[1]
    if len(latest) < len(key):
        mask = np.zeros(len(key), bool)
        mask[latest] = True
        kept = kept.where(mask)
    return kept if last_n is None else kept.last(last_n)


def rows_matrix(sequences: Sequences, data: Floats, size: int) -> csr_array:
    """float64 [n, size] with ``data`` [m] at the items of each sequence; items that recur are added up."""
    shape = (len(sequences), size)
    # Copies, because sum_duplicates works in place, and these arrays are the caller's.
    arrays = (data.astype(np.float64), sequences.items.astype(np.int32), sequences.offsets.copy())
    matrix = csr_array(arrays, shape=shape)
    matrix.sum_duplicates()
    return matrix


def blocks(cost: NDArray[np.integer], limit: int) -> Iterator[slice]:
    """Consecutive slices of rows whose costs add up to at most ``limit``; a row that alone is dearer is one slice."""
    total, start = np.concatenate([[0], np.cumsum(cost)]), 0
    while start < len(cost):
        stop = max(start + 1, int(np.searchsorted(total, total[start] + limit, side="right")) - 1)
        yield slice(start, stop)
        start = stop


def largest(matrix: csr_array, k: int) -> Mask:
    """bool [nnz], the k largest entries of each row, compared as float32; among equals the higher column wins.

    Entries must not be negative. Rounding to float32 makes sums equal that are equal but for their order.
    """
    lengths = np.diff(matrix.indptr)
    keep = np.repeat(lengths <= k, lengths)
    if keep.all():
        return keep
    # The bits of a float that is not negative order like an integer, so that value and column make one unique key.
    key = matrix.data.astype(np.float32).view(np.int32).astype(np.int64) << 32 | matrix.indices
    pending = np.flatnonzero(lengths > k)
    magnitude = np.frexp(lengths[pending])[1]
    # Rows of alike length (within a factor of two) are padded together: few calls, and no row doubles in width twice.
    for group in np.unique(magnitude):
        rows = pending[magnitude == group]
        for part in np.array_split(rows, 1 + (len(rows) << group) // (1 << 22)):
            at = matrix.indptr[part][:, None] + np.arange(lengths[part].max())
            inside = at < matrix.indptr[part + 1][:, None]
            padded = np.where(inside, key[np.where(inside, at, 0)], -1)
            chosen = torch.from_numpy(padded).topk(k, dim=1, sorted=False).indices.numpy()
            keep[np.take_along_axis(at, chosen, 1)] = True
    return keep


def product(left: csr_array, right: csr_array) -> csr_array:
    """``left @ right``. Between positive factors, the places of its entries depend on those of the factors alone."""
    return csr_array(left @ right)


def stack(parts: list[csr_array], width: int) -> csr_array:
    """The rows of all ``parts``, each [·, width], one under another."""
    return csr_array(vstack(parts, format="csr")) if parts else csr_array((0, width))


def select(matrix: csr_array, keep: Mask) -> csr_array:
    """The entries for which ``keep`` (bool [nnz]) holds."""
    kept = np.concatenate([[0], np.cumsum(keep)])
    return csr_array((matrix.data[keep], matrix.indices[keep], kept[matrix.indptr]), shape=matrix.shape)


def to_scores(evidence: csr_array, histories: Sequences, popularity: Floats) -> Tensor:
    """Sparse evidence as the scores that are ranked: float32 [n, size], −∞ for an item without evidence.

    A history with no evidence for any item outside itself gets the popular items, scored below zero and so below
    all evidence.

    Args: popularity: float64 [size] in [0, 1).
    """
    scores = torch.full((len(histories), len(popularity)), -torch.inf)
    lengths = np.diff(evidence.indptr)
    row = np.repeat(np.arange(len(histories)), lengths)
    scores[torch.from_numpy(row), torch.from_numpy(evidence.indices.astype(np.int64))] = torch.from_numpy(
        evidence.data.astype(np.float32)
    )
    own_row, own_item = np.divmod(np.unique(histories.row_ids * len(popularity) + histories.items), len(popularity))
    own = (scores[torch.from_numpy(own_row), torch.from_numpy(own_item)] > -torch.inf).numpy()
    bare = torch.from_numpy(np.flatnonzero(lengths == np.bincount(own_row[own], minlength=len(histories))))
    if len(bare):
        scores[bare] = torch.maximum(scores[bare], torch.from_numpy((popularity - 1.0).astype(np.float32)))
    return scores


def to_state(matrix: csr_array, name: str) -> dict[str, Tensor]:
    """The arrays of a matrix, for a model folder."""
    return {
        f"{name}.data": torch.from_numpy(matrix.data),
        f"{name}.indices": torch.from_numpy(matrix.indices.astype(np.int32)),
        f"{name}.offsets": torch.from_numpy(matrix.indptr.astype(np.int64)),
    }


def from_state(state: dict[str, Tensor], name: str, width: int) -> csr_array:
    """The matrix [·, width] that :func:`to_state` took apart."""
    data, indices, offsets = (state[f"{name}.{part}"].numpy() for part in ("data", "indices", "offsets"))
    return csr_array((data, indices, offsets), shape=(len(offsets) - 1, width))
