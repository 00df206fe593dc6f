"""Sampled candidates: the target among a few random items, as in papers that do not rank the whole catalogue.

Figures from sampled candidates are not comparable with full ranking, nor across sample sizes, and can order models
differently (Krichene & Rendle, KDD 2020, 10.1145/3394486.3403226). Every report made from them says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Cases, Split
from seqlore.errors import DataError

#: Cases that are drawn together, which bounds the memory. Part of what a seed means: do not change it.
CHUNK = 4096


@dataclass(frozen=True, eq=False)
class SampledCases(Cases):
    """Cases whose candidates were drawn.

    Attributes: rule: how, in words, for tables.
    """

    rule: str = ""


def sample_candidates(
    split: Split, n: int = 99, *, seed: int = 0, on: Literal["test", "valid"] = "test"
) -> SampledCases:
    """The cases of the split, each with its target and n items drawn uniformly from those the user has not seen.

    "Seen" means in the history of the case. The draw is without repetition, by ``seed``; the candidates of a case are
    in index order, which is a hash order and so tells nothing about the target.

    Raises: DataError: the split has no such cases, or some history leaves fewer than n items to draw from.
    """
    cases = split.test if on == "test" else split.valid
    if cases is None:
        raise DataError(f"this split has no {on} cases left; pass the split that has them")
    if n < 1:
        raise DataError(f"n={n}: draw at least one item beside the target")
    size = split.catalog.size
    barred = cases.joined()
    distinct = np.unique(barred.row_ids * size + barred.items)
    left = size - 1 - np.bincount(distinct // size, minlength=len(cases))
    if len(left) and left.min() < n:
        case = int(left.argmin())
        raise DataError(f"case {case} leaves {left[case]:,} unseen items, fewer than n={n}; draw at most that many")
    rng = np.random.default_rng(seed)
    drawn = np.zeros((len(cases), n), np.int64)
    for start in range(0, len(cases), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(cases)))
        drawn[rows] = _draw(rows, n, size, distinct, rng)
    candidates = np.sort(np.c_[drawn, cases.targets], axis=1).astype(np.int32)
    rule = f"target + {n} items drawn uniformly from the unseen ones (seed {seed})"
    return SampledCases(cases.histories, cases.targets, candidates, cases.rows, cases.timestamps, rule)


def _draw(
    rows: NDArray[np.int64], n: int, size: int, barred: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """[len(rows), n] distinct items of 1 … size − 1 a row, none barred (sorted keys row · size + item).

    Draws with repetition and draws again what is barred or came before in its row; as no step depends on which item an
    item is, all sets of allowed items are equally likely.
    """
    drawn = rng.integers(1, size, (len(rows), n))
    todo = np.arange(len(rows))
    while len(todo):
        keys = rows[todo, None] * size + drawn[todo]
        found = np.minimum(np.searchsorted(barred, keys), len(barred) - 1)
        bad = barred[found] == keys
        order = np.argsort(keys, axis=1, kind="stable")
        ordered = np.take_along_axis(keys, order, 1)
        repeated = np.zeros_like(bad)
        np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], 1)
        bad |= repeated
        at = np.nonzero(bad)
        drawn[todo[at[0]], at[1]] = rng.integers(1, size, len(at[0]))
        todo = todo[bad.any(1)]
    return drawn
