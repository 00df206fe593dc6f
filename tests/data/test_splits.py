"""Splits by hand, and the laws that hold for all of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.data import Dataset, Split, leave_one_out, ratio, temporal_sessions, user_ratio
from seqlore.errors import DataError
from toys import make_dataset


def told(split: Split, sequences) -> dict[str, list[str]]:
    """User → external items."""
    return {
        split.users.external(u): [split.catalog.external(i) for i in row.tolist()]
        for u, row in zip(sequences.users.tolist(), sequences, strict=True)
    }


def asked(split: Split, cases) -> dict[str, tuple[list[str], str]]:
    histories = told(split, cases.histories)
    return {
        split.users.external(u): (histories[split.users.external(u)], split.catalog.external(int(t)))
        for u, t in zip(cases.histories.users.tolist(), cases.targets, strict=True)
    }


def test_leave_one_out_by_hand():
    split = leave_one_out(make_dataset({"u": list("abcd"), "v": list("ab"), "w": ["c"]}))
    assert told(split, split.train) == {"u": ["a", "b"], "v": ["a"], "w": ["c"]}
    assert asked(split, split.valid) == {"u": (["a", "b"], "c")}
    assert asked(split, split.test) == {"u": (["a", "b", "c"], "d"), "v": (["a"], "b")}
    both = split.with_validation()
    assert told(both, both.train) == {"u": ["a", "b", "c"], "v": ["a"], "w": ["c"]}
    assert both.valid is None
    assert both.how["fitted_on"] == "train+valid"
    every = split.with_everything()
    assert told(every, every.train) == {"u": list("abcd"), "v": list("ab"), "w": ["c"]}
    assert every.test is None


def test_ratio_by_hand():
    split = ratio(make_dataset({"u": [*"abcdefghij"], "v": ["a"]}))
    assert told(split, split.train) == {"u": [*"abcdefgh"], "v": ["a"]}
    assert asked(split, split.valid) == {"u": ([*"abcdefgh"], "i")}
    assert asked(split, split.test) == {"u": ([*"abcdefghi"], "j")}
    every = split.with_everything()
    assert told(every, every.train)["u"] == [*"abcdefghij"]


def sessions(ends: dict[str, list[tuple[str, int]]]) -> Dataset:
    rows = [(u, i, t) for u, events in ends.items() for i, t in events]
    return Dataset.from_frames(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


def test_temporal_sessions_by_hand():
    data = sessions(
        {
            "s1": [("a", 1), ("b", 2)],
            "s2": [("b", 3), ("c", 30)],  # starts early, ends last: a test session
            "s3": [("a", 4), ("c", 5)],
            "s4": [("x", 20), ("a", 21), ("b", 22)],  # x is unknown to training
            "s5": [("c", 6), ("a", 7)],
        }
    )
    split = temporal_sessions(data, test_fraction=0.4, folds=0, valid_fraction=0.0)
    assert set(told(split, split.train)) == {"s1", "s3", "s5"}
    assert asked(split, split.test) == {"s2": (["b"], "c"), "s4": (["a"], "b")}
    kept = temporal_sessions(data, test_fraction=0.4, folds=0, valid_fraction=0.0, drop_unknown=False)
    assert asked(kept, kept.test)["s4"] == (["x", "a"], "b")
    assert len(temporal_sessions(data, test_fraction=0.41, folds=0).test) == 3, "⌈0.41·5⌉ = 3"


def test_a_final_fit_on_temporal_sessions_takes_what_no_case_asks_about():
    ends = {f"s{i}": [("a", i), ("b", i + 1)] for i in range(8)}
    ends |= {"t1": [("x", 50), ("a", 51)], "t2": [("b", 60)], "t3": [("a", 61), ("x", 62), ("b", 63)]}
    split = temporal_sessions(sessions(ends), test_fraction=0.25, folds=1, valid_fraction=0.2)
    assert asked(split, split.test) == {"t3": (["a"], "b")}
    every = split.with_everything()
    assert told(every, every.train) == {user: [item for item, _ in events] for user, events in ends.items()}
    assert (every.valid, every.test) == (None, None)
    fold = split.folds[0].with_everything()
    assert set(told(fold, fold.train)) == {f"s{i}" for i in range(8)}, "a fold knows no more than its own sessions"


@pytest.mark.parametrize("make", [leave_one_out, temporal_sessions, ratio, partial(user_ratio, first=3, targets=1)])
def test_everything_is_every_event_of_the_dataset(make):
    rng = np.random.default_rng(2)
    ends = {
        f"u{u}": [(f"i{i}", int(t)) for i, t in rng.integers(0, 60, (n, 2))] for u, n in enumerate([*range(1, 9)] * 3)
    }
    data = sessions(ends)
    every = make(data).with_everything()
    assert sorted(every.train.rows.tolist()) == list(range(len(data.interactions)))
    assert len(set(every.train.users.tolist())) == len(every.train) == len(ends)


def test_folds_are_chained_forward():
    data = sessions({f"s{i:02d}": [("a", i), ("b", i)] for i in range(20)})
    split = temporal_sessions(data, folds=3, valid_fraction=0.25)
    times = [
        (
            max(f.train.timestamps.max(), f.valid.timestamps.max()),
            f.test.timestamps.min(),
            len(f.train) + len(f.valid),
            len(f.test),
        )
        for f in split.folds
    ]
    assert times == [(3, 4, 4, 4), (7, 8, 8, 4), (11, 12, 12, 4)]
    assert all(len(f.valid) == -(-n // 4) for f, n in zip(split.folds, (4, 8, 12), strict=True))
    assert split.test.timestamps.min() == 16


def test_shuffling_touches_ties_only():
    data = sessions({"u": [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 3), ("f", 3)]})
    orders = set()
    for seed in range(80):
        split = leave_one_out(data, ties="shuffled", seed=seed)
        (history, last) = asked(split, split.test)["u"]
        order = [*history, last]
        assert set(order[:3]) == set("abc")
        assert order[3] == "d"
        orders.add("".join(order))
    assert len(orders) == 12, "3!·2! orders are possible, and 80 seeds find them all"
    assert asked(leave_one_out(data), leave_one_out(data).test)["u"] == ([*"abcde"], "f")


def test_position_decides_before_time_and_unknown_times_tie_with_nothing():
    frame = pl.DataFrame(
        {"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "timestamp": [5, None, None], "position": [2, 0, 1]}
    )
    for ties in ("file", "shuffled"):
        split = leave_one_out(Dataset.from_frames(frame), ties=ties, seed=3)
        assert asked(split, split.test)["u"] == (["b", "c"], "a")


@pytest.mark.parametrize("make", [leave_one_out, temporal_sessions, ratio])
def test_times_that_are_known_in_part_order_nothing(make):
    frame = pl.DataFrame({"user_id": ["u"] * 4, "item_id": [*"abcd"], "timestamp": [9, 2, None, 1]})
    with pytest.raises(DataError, match=r"1 of 4 interactions have no timestamp.* fill them in, remove them, or drop"):
        make(Dataset.from_frames(frame))
    published = frame.with_columns(position=pl.Series([0, None, 1, 2])).drop("timestamp")
    with pytest.raises(DataError, match="1 of 4 interactions have no position"):
        make(Dataset.from_frames(published))
    split = leave_one_out(Dataset.from_frames(frame.drop("timestamp")))
    assert asked(split, split.test)["u"] == ([*"abc"], "d"), "without the column the file's order is all there is"


worlds = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=9), min_size=3, max_size=12
)


@settings(max_examples=40, deadline=None)
@given(worlds, st.sampled_from(["file", "shuffled"]), st.integers(0, 5))
def test_no_event_is_lost_or_told_twice(world, ties, seed):
    data = sessions({f"u{u}": [(f"i{i}", t) for i, t in events] for u, events in enumerate(world)})
    if all(len(e) < 2 for e in world):
        return
    for make in (leave_one_out, ratio):
        split = make(data, ties=ties, seed=seed)
        train = set(split.train.rows.tolist())
        held = [*split.valid.rows.tolist(), *split.test.rows.tolist()]
        assert len(set(held)) == len(held)
        assert not train & set(held)
        assert train | set(held) == set(range(len(data.interactions)))
        assert sorted(split.with_everything().train.rows.tolist()) == list(range(len(data.interactions)))
        times = data.interactions["timestamp"].to_numpy()
        for sequence in (split.train, split.test.histories):
            for a, b in zip(sequence.offsets[:-1], sequence.offsets[1:], strict=True):
                assert (np.diff(times[sequence.rows[a:b]]) >= 0).all()


def test_what_cannot_be_split_is_refused():
    with pytest.raises(DataError, match="at least two interactions"):
        leave_one_out(make_dataset({"u": ["a"], "v": ["b"]}))
    with pytest.raises(DataError, match="timestamp on every interaction"):
        temporal_sessions(Dataset.from_frames(pl.DataFrame({"user_id": ["u"], "item_id": ["a"]})))
    with pytest.raises(DataError, match="not a tie rule"):
        leave_one_out(make_dataset({"u": ["a", "b"]}), ties="random")  # type: ignore[arg-type]


@pytest.mark.parametrize("parts", [(0, 0, 0), (8, -1, 1), (8, 1), (8, 1, 1, 1), (float("nan"), 1, 1)])
def test_parts_that_are_no_three_shares(parts):
    for make in (ratio, user_ratio):
        with pytest.raises(DataError, match="give three shares"):
            make(make_dataset({"u": [*"abcd"]}), parts=parts)


def test_more_folds_than_sessions():
    data = sessions({f"s{i}": [("a", i), ("b", i)] for i in range(10)})
    assert len(temporal_sessions(data, folds=8).folds) == 8
    for folds in (9, -1):
        with pytest.raises(DataError, match=f"folds={folds}: 8 training sessions make 0 to 8 folds"):
            temporal_sessions(data, folds=folds)


@pytest.mark.realdata
def test_beauty_has_the_published_counts(beauty: Dataset):
    split = temporal_sessions(beauty)
    assert len(split.test) == 4469
    assert int((split.with_validation().counts() > 0).sum()) == 11_957
    assert len(split.with_everything().train.items) == 198_502
    loo = leave_one_out(beauty)
    assert len(loo.test) == len(loo.valid) == 22_363
    assert len(loo.train.items) == 198_502 - 2 * 22_363
