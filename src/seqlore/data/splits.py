"""Splits: which events a model may learn from, and which it is asked about.

* ``leave_one_out``: a user's last event is the test target, the last but one the validation target.
* ``temporal_sessions``: the protocol of Harte et al., RecSys 2023 (10.1145/3604915.3610639): sessions ordered by
  their latest time, the last ⌈0.2·n⌉ are test; forward-chained folds over the others for tuning; 10 % of the
  training sessions, at most 500, drawn at random, stop the training of a net.
* ``ratio``: each user's events 8:1:1 in time; every held-out event is a case of its own.

Order of events. ``ties="file"`` takes the published order (``position`` where the data has it, else time and then
row). ``ties="shuffled"`` permutes, by seed, the events of a user that share a time: on sets with whole-day stamps
the published order of a day is by item id, which a model can learn and a shop cannot know.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.data.catalog import Catalog, Vocabulary
from seqlore.data.dataset import Dataset
from seqlore.data.sequences import Cases, Sequences
from seqlore.errors import DataError

Ties = Literal["file", "shuffled"]


@dataclass(frozen=True, eq=False)
class Split:
    """What may be learned and what is asked.

    Attributes:
        dataset, catalog, users: the data and its two vocabularies.
        train: the sequences to learn from.
        valid: the cases on which a model may stop or be tuned; None after :meth:`with_validation`.
        test: the cases on which it is judged; None after :meth:`with_everything`.
        folds: validation folds for tuning, each a split of the training part only.
        how: protocol, tie rule, seed, …: everything that made the split, for tables and model cards.
        whole: the held-out sequences with all their events, where the cases lack some (items that training does not
            know, sequences that are too short to ask about); None where they lack none.
    """

    dataset: Dataset
    catalog: Catalog
    users: Vocabulary
    train: Sequences
    valid: Cases | None
    test: Cases | None
    folds: list[Split] = field(default_factory=list)
    how: dict[str, Any] = field(default_factory=dict)
    whole: Sequences | None = None

    def counts(self) -> NDArray[np.int64]:
        """int64 [catalog.size], how often each item occurs in ``train`` (index 0 is padding)."""
        return self.train.counts(self.catalog.size)

    def with_validation(self) -> Split:
        """The same split with the validation events in ``train`` and no validation cases: for a final fit.

        Users whom only validation asks about are then trained on with all their events, those behind their targets too.
        """
        if self.valid is None:
            return self
        told = self.valid.joined()
        if self.whole is not None:
            judged = () if self.test is None else self.test.histories.users
            ours = np.isin(self.whole.users, told.users[told.users > 0]) & ~np.isin(self.whole.users, judged)
            told = Sequences.concat([told, self.whole.take(np.flatnonzero(ours))])
        return self._absorb(told, "train+valid", test=self.test)

    def with_everything(self) -> Split:
        """All events in ``train``, those too that no case asks about: for the model that goes into production.

        Nothing is left to judge it by. Of a fold: all events of the fold.
        """
        both = self.with_validation()
        if both.test is None:
            return both
        return both._absorb(both.test.joined() if self.whole is None else self.whole, "everything", test=None)

    def valid_sample(self, at_most: int | None, seed: int) -> Cases | None:
        """The validation cases, or ``at_most`` of them drawn by ``seed``; None where there are none."""
        if self.valid is None or not len(self.valid):
            return None
        if at_most is None or len(self.valid) <= at_most:
            return self.valid
        return self.valid.take(np.random.default_rng(seed).choice(len(self.valid), at_most, replace=False))

    def _absorb(self, sequences: Sequences, fitted_on: str, test: Cases | None) -> Split:
        """Sequences that continue a training sequence replace it; the others are new."""
        longest = _longest_per_user(sequences)
        told = np.isin(self.train.users, longest.users[longest.users > 0])
        train = Sequences.concat([self.train.take(~told), longest])
        return replace(self, train=train, valid=None, test=test, folds=[], how={**self.how, "fitted_on": fitted_on})

    def describe(self) -> str:
        """One line for tables: ``leave-one-out, ties as in the file``."""
        ties = (
            "ties as in the file" if self.how.get("ties") == "file" else f"ties shuffled (seed {self.how.get('seed')})"
        )
        return f"{self.how.get('protocol', 'split')}, {ties}"


def _longest_per_user(sequences: Sequences) -> Sequences:
    """The longest sequence of each known user (ratio splits have several cases a user), and all strangers'."""
    order = np.lexsort((-sequences.lengths, sequences.users))
    users = sequences.users[order]
    first = np.ones(len(users), bool)
    first[1:] = (users[1:] != users[:-1]) | (users[1:] == 0)
    return sequences.take(np.sort(order[first]))


def ordered_sequences(
    dataset: Dataset, *, ties: Ties = "file", seed: int = 0, catalog: Catalog | None = None
) -> tuple[Catalog, Vocabulary, Sequences]:
    """All events as one sequence a user, oldest first, users in the order of their first row.

    Raises: DataError: no such tie rule; or some times are missing, see :attr:`Dataset.order`.
    """
    if ties not in ("file", "shuffled"):
        raise DataError(f"ties={ties!r} is not a tie rule: use 'file' or 'shuffled'")
    events = dataset.interactions
    catalog = catalog or Catalog(dataset.items)
    users = Vocabulary(events["user_id"].unique(maintain_order=True).to_list())
    frame = pl.DataFrame(
        {
            "user": users.index_column(events["user_id"]),
            "item": catalog.index_column(events["item_id"]),
            "row": np.arange(len(events)),
        }
    )
    time = events["timestamp"] if "timestamp" in events.columns else pl.Series([None] * len(events), dtype=pl.Int64())
    frame = frame.with_columns(time.alias("time"), first=pl.col("row").min().over("user"))
    by = [] if dataset.order is None else [events[dataset.order].alias("by")]
    frame = frame.sort(["first", *by, "row"])
    if ties == "shuffled":
        # A tie is a run of neighbours of one user at one known time; only within such runs is the order free.
        tie = pl.struct(pl.col("user"), pl.col("time").fill_null(-(2**62) - pl.col("row"))).rle_id()
        noise = np.random.default_rng(seed).random(len(frame))
        frame = frame.with_columns(tie.alias("tie"), pl.Series("noise", noise)).sort(["tie", "noise"])
    user = frame["user"].to_numpy()
    starts = np.flatnonzero(np.r_[True, user[1:] != user[:-1]])
    ratings = events["rating"].gather(frame["row"]) if "rating" in events.columns else None
    sequences = Sequences(
        items=frame["item"].to_numpy().astype(np.int32),
        offsets=np.r_[starts, len(user)].astype(np.int64),
        users=user[starts].astype(np.int32),
        rows=frame["row"].to_numpy().astype(np.int64),
        timestamps=None if time.null_count() else frame["time"].to_numpy(),
        ratings=None if ratings is None or ratings.null_count() else ratings.to_numpy(),
    )
    return catalog, users, sequences


def last_as_target(sequences: Sequences) -> Cases:
    """Cases that ask for the last event of each sequence (each needs at least one)."""
    ends = sequences.offsets[1:] - 1
    return Cases(
        histories=sequences.drop_last(),
        targets=sequences.items[ends],
        rows=None if sequences.rows is None else sequences.rows[ends],
        timestamps=None if sequences.timestamps is None else sequences.timestamps[ends],
    )


def leave_one_out(dataset: Dataset, *, ties: Ties = "file", seed: int = 0) -> Split:
    """Last event of each user = test, last but one = validation, the rest = training.

    A user with two events gives a test case but no validation case; a user with one event is trained on only.

    Raises: DataError: nobody has two events.
    """
    catalog, users, everything = ordered_sequences(dataset, ties=ties, seed=seed)
    n = everything.lengths
    if not (n >= 2).any():
        raise DataError("leave-one-out needs users with at least two interactions, and this dataset has none")
    starts, ends = everything.offsets[:-1], everything.offsets[1:]
    train = everything.slice(starts, ends - np.where(n >= 3, 2, np.where(n == 2, 1, 0)))
    asked = everything.take(n >= 2)
    return Split(
        dataset=dataset,
        catalog=catalog,
        users=users,
        train=train,
        valid=last_as_target(everything.take(n >= 3).drop_last()),
        test=last_as_target(asked),
        how={"protocol": "leave-one-out", "ties": ties, "seed": seed},
    )


def temporal_sessions(
    dataset: Dataset,
    *,
    test_fraction: float = 0.2,
    folds: int = 3,
    drop_unknown: bool = True,
    valid_fraction: float = 0.1,
    valid_limit: int = 500,
    ties: Ties = "file",
    seed: int = 0,
) -> Split:
    """Sessions (one a user) ordered by their latest time; the last ⌈test_fraction·n⌉ are test.

    Args:
        drop_unknown: remove items that training does not know from test (and validation) sessions, as the paper does;
            then sessions of fewer than two items are dropped. Otherwise they stay, and count as misses.
        folds: forward-chained folds for tuning: the training sessions in ``folds + 1`` equal bins by time; fold i
            learns from bins 1 … i and is asked about bin i + 1.
        valid_fraction, valid_limit: share of training sessions, drawn by ``seed``, that stop the training of a net,
            and the most that are drawn.

    Raises: DataError: times are missing, or there are too few sessions (for ``folds``, too).
    """
    catalog, users, everything = ordered_sequences(dataset, ties=ties, seed=seed)
    if everything.timestamps is None:
        raise DataError(
            "temporal sessions need a timestamp on every interaction; use leave-one-out, or fill the column in"
        )
    latest = np.maximum.reduceat(everything.timestamps, everything.offsets[:-1])
    # The stable sort decides sessions that share the boundary time: by user id, as the authors' frames are grouped.
    by_id = np.argsort(np.asarray(users.ids, object)[everything.users - 1], kind="stable")
    order = by_id[np.argsort(latest[by_id], kind="stable")]
    n_test = math.ceil(test_fraction * len(order))
    if not 0 < n_test < len(order):
        raise DataError(f"test_fraction={test_fraction} leaves no sessions to {'learn from' if n_test else 'test on'}")
    how = {
        "protocol": "temporal sessions",
        "ties": ties,
        "seed": seed,
        "test_fraction": test_fraction,
        "drop_unknown": drop_unknown,
        "valid_fraction": valid_fraction,
        "valid_limit": valid_limit,
    }
    base = Split(dataset, catalog, users, everything, None, None, how=how)

    def build(train: NDArray[np.int64], asked: NDArray[np.int64], note: str) -> Split:
        # The fit may see the inner validation once it has stopped, so "known" counts those sessions too.
        known = everything.take(train).counts(catalog.size) > 0

        def cases(index: NDArray[np.int64]) -> Cases:
            sessions = everything.take(index)
            if drop_unknown:
                sessions = sessions.where(known[sessions.items])
            return last_as_target(sessions.take(sessions.lengths >= 2))

        askable = np.flatnonzero(everything.lengths[train] >= 2)
        n_valid = min(math.ceil(valid_fraction * len(train)), valid_limit, len(askable))
        inner = np.zeros(len(train), bool)
        inner[np.random.default_rng(seed).choice(askable, n_valid, replace=False)] = True
        return replace(
            base,
            train=everything.take(train[~inner]),
            valid=cases(train[inner]),
            test=cases(asked),
            how={**how, "fold": note} if note else how,
            whole=everything.take(asked),
        )

    past, future = order[:-n_test], order[-n_test:]
    if not 0 <= folds <= len(past):
        raise DataError(f"folds={folds}: {len(past):,} training sessions make 0 to {len(past):,} folds; ask for fewer")
    bins = np.array_split(past, folds + 1) if folds else []
    chained = [build(np.concatenate(bins[: i + 1]), bins[i + 1], f"{i + 1} of {folds}") for i in range(folds)]
    return replace(build(past, future, ""), folds=chained)


def check_parts(parts: Sequence[float]) -> None:
    """Raises: DataError: ``parts`` are not three shares, none negative and not all zero."""
    if len(parts) != 3 or not all(0 <= part < math.inf for part in parts) or not sum(parts):
        raise DataError(f"parts={tuple(parts)}: give three shares (train, valid, test), none below 0 and not all 0")


def ratio(
    dataset: Dataset, *, parts: tuple[float, float, float] = (8, 1, 1), ties: Ties = "file", seed: int = 0
) -> Split:
    """Each user's events in time order, cut in the proportion ``parts``; every held-out event is a case.

    The history of a case is everything before it. Cuts are rounded so that training keeps at least one event.

    Raises: DataError: ``parts`` are not three shares.
    """
    check_parts(parts)
    catalog, users, everything = ordered_sequences(dataset, ties=ties, seed=seed)
    n, starts = everything.lengths, everything.offsets[:-1]
    total = float(sum(parts))
    valid_at = np.maximum(np.round(n * parts[0] / total), 1).astype(np.int64)
    test_at = np.clip(np.round(n * (parts[0] + parts[1]) / total).astype(np.int64), valid_at, n)

    def cases(begin: NDArray[np.int64], end: NDArray[np.int64]) -> Cases:
        lengths = end - begin
        of = np.repeat(np.arange(len(n)), lengths)
        at = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) + begin[of] + starts[of]
        return last_as_target(everything.slice(starts[of], at + 1, of))

    return Split(
        dataset=dataset,
        catalog=catalog,
        users=users,
        train=everything.slice(starts, starts + valid_at),
        valid=cases(valid_at, test_at),
        test=cases(test_at, n),
        how={"protocol": f"ratio {':'.join(f'{p:g}' for p in parts)}", "ties": ties, "seed": seed},
    )
