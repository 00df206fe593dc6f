"""The split of the reranking papers: users 8:1:1, and several targets of each held-out user.

Zhang et al., "Enhancing Reranking for Recommendation with LLMs through User Preference Retrieval", COLING 2025, divide
their data 8:1:1 and give no more detail; what is fixed here (users as the unit, where targets may stand, how many there
are) is a reading of it, under which popularity comes out as their base of DLCM on MovieLens-1M does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqlore.data.dataset import Dataset
from seqlore.data.sequences import Cases, Sequences
from seqlore.data.splits import Split, Ties, check_parts, last_as_target, ordered_sequences
from seqlore.errors import DataError


def user_ratio(
    dataset: Dataset,
    *,
    parts: tuple[float, float, float] = (8, 1, 1),
    targets: int = 5,
    first: int = 11,
    ties: Ties = "file",
    seed: int = 0,
) -> Split:
    """Users divided at random in the proportion ``parts``; every event counts, whatever its rating.

    A held-out user is a stranger to training and is asked about ``targets`` of his events, drawn by ``seed`` from
    position ``first`` (from 1) on; the history of each is everything before it. Users who are too short for that are
    trained on if they fall to training, and are not asked about otherwise.

    Raises: DataError: parts, targets or first out of range, or nobody is left to learn from or to ask about.
    """
    check_parts(parts)
    if targets < 1 or first < 2:
        raise DataError(f"targets={targets}, first={first}: give 1 or more targets, from position 2 or later")
    catalog, users, everything = ordered_sequences(dataset, ties=ties, seed=seed)
    rng = np.random.default_rng((seed, 811))
    cuts = np.round(np.cumsum(parts[:2]) / sum(parts) * len(everything)).astype(int)
    told, tried, judged = (np.sort(each) for each in np.split(rng.permutation(len(everything)), cuts))
    valid, test = (draw_targets(everything.take(each), targets, first, rng) for each in (tried, judged))
    if not len(told) or not len(test):
        raise DataError(f"parts={parts} and first={first} leave no users to {'test on' if len(told) else 'learn from'}")
    return Split(
        dataset=dataset,
        catalog=catalog,
        users=users,
        train=everything.take(told),
        valid=valid,
        test=test,
        how={
            "protocol": f"user-ratio {':'.join(f'{p:g}' for p in parts)}",
            "targets": targets,
            "first": first,
            "ties": ties,
            "seed": seed,
        },
        whole=everything.take(np.r_[tried, judged]),
    )


def draw_targets(
    sequences: Sequences, count: int, first: int, rng: np.random.Generator | Sequence[int] | int, *, step: int = 1
) -> Cases:
    """Up to ``count`` events of each sequence, drawn without repetition from position ``first`` (from 1) on, as cases.

    With ``step``, from positions first, first + step, … alone. Sequences and, within each, positions stay in order; a
    sequence shorter than ``first`` gives none.
    """
    rng = np.random.default_rng(rng)
    starts, of = sequences.offsets[:-1], sequences.row_ids
    behind = np.arange(len(of)) - starts[of] - (first - 1)
    eligible = np.flatnonzero((behind >= 0) & (behind % step == 0))
    by_chance = eligible[np.lexsort((rng.random(len(eligible)), of[eligible]))]
    row = of[by_chance]
    begins = np.r_[True, row[1:] != row[:-1]] if len(row) else np.zeros(0, bool)
    place = np.arange(len(row)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
    chosen = np.sort(by_chance[place < count])
    return last_as_target(sequences.slice(starts[of[chosen]], chosen + 1, of[chosen]))
