"""Sampled candidates: the target among a few random items, as in papers that do not rank the whole catalogue.

Figures from sampled candidates are not comparable with full ranking, nor across sample sizes, and can order models
differently (Krichene & Rendle, KDD 2020, 10.1145/3394486.3403226). Every report made from them says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Cases, Sequences, Split
from seqlore.errors import DataError

Unseen = Literal["history", "user"]

#: Cases that are drawn together, which bounds the memory. Part of what a seed means: do not change it.
CHUNK = 4096


@dataclass(frozen=True, eq=False)
class SampledCases(Cases):
    """Cases whose candidates were drawn.

    Attributes: rule: how, in words, for tables.
    """

    rule: str = ""


def sample_candidates(
    split: Split,
    n: int = 99,
    *,
    seed: int = 0,
    on: Literal["test", "valid"] = "test",
    unseen: Unseen = "history",
) -> SampledCases:
    """The cases of the split, each with its target and n items drawn uniformly from those the user has not seen.

    The draw is without repetition, by ``seed``; the candidates of a case are in index order, which is a hash order and
    so tells nothing about the target.

    Args:
        unseen: what is never drawn. "history": items in the history of the case. "user": any item of this user, later
            ones too, as most papers do; so what a user is going to like is never a wrong answer, which a shop cannot
            know, and the figures come out higher.

    Raises: DataError: the split has no such cases, or some history leaves fewer than n items to draw from.
    """
    cases = split.test if on == "test" else split.valid
    if cases is None:
        raise DataError(f"this split has no {on} cases left; pass the split that has them")
    owned = items_of_users(split) if unseen == "user" else None
    candidates = target_and_unseen(cases, n, size=split.catalog.size, seed=seed, owned=owned)
    return with_candidates(cases, candidates, f"{uniform_rule(n, unseen)} (seed {seed})")


def uniform_rule(n: int, unseen: Unseen) -> str:
    """What :func:`target_and_unseen` does, for tables."""
    which = "the unseen ones" if unseen == "history" else "those that the user never has, later ones included"
    return f"target + {n} items drawn uniformly from {which}"


def items_of_users(split: Split) -> Sequences:
    """All items of each user in the dataset, held-out ones too, by dense user index; row 0, a stranger's, is empty."""
    events = split.dataset.interactions
    of = split.users.index_column(events["user_id"])
    items = split.catalog.index_column(events["item_id"])[np.argsort(of, kind="stable")]
    return Sequences(items, np.r_[0, np.cumsum(np.bincount(of, minlength=split.users.size))])


def target_and_unseen(
    cases: Cases, n: int, *, size: int, seed: int | Sequence[int], owned: Sequences | None = None
) -> NDArray[np.int32]:
    """int32 [len(cases), n + 1], the target and n items that its history has not, in index order.

    Args: size: ``catalog.size``. owned: what :func:`items_of_users` gave; none of these is drawn either.

    Raises: DataError: some history leaves fewer than n items to draw from.
    """
    if n < 1:
        raise DataError(f"n={n}: draw at least one item beside the target")
    seen = [cases.joined(), *([] if owned is None else [owned.take(cases.histories.users)])]
    distinct = np.unique(np.concatenate([each.row_ids * size + each.items for each in seen]))
    left = size - 1 - np.bincount(distinct // size, minlength=len(cases))
    if len(left) and left.min() < n:
        case = int(left.argmin())
        raise DataError(f"case {case} leaves {left[case]:,} unseen items, fewer than n={n}; draw at most that many")
    rng = np.random.default_rng(seed)
    drawn = np.zeros((len(cases), n), np.int64)
    for start in range(0, len(cases), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(cases)))
        drawn[rows] = _draw(rows, n, size, distinct, rng)
    return np.sort(np.c_[drawn, cases.targets], axis=1).astype(np.int32)


def with_candidates(cases: Cases, candidates: NDArray[np.int32], rule: str) -> SampledCases:
    """The cases with these candidates, int32 [n, c]."""
    return SampledCases(cases.histories, cases.targets, candidates, cases.rows, cases.timestamps, rule)


def shuffled(candidates: NDArray[np.integer], seed: int | Sequence[int] = 0) -> NDArray[np.int32]:
    """Each row in an order of its own; zeros, which pad, go to the end.

    The order is a function of the row's *set* of items and the seed. So nothing of the order in which candidates came
    (the target first, say) is left in it, and a list is ordered alike alone and in any batch.
    """
    key = np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    items = candidates.astype(np.uint64)
    own = _mixed(items + key)
    row = _mixed((own * (items > 0)).sum(1, dtype=np.uint64))[:, None]
    order = np.argsort(np.where(items == 0, np.uint64(2**64 - 1), _mixed(own ^ row) >> np.uint64(1)), axis=1)
    return np.take_along_axis(candidates, order, 1).astype(np.int32)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): every bit of the input moves every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


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
