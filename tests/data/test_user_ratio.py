"""The split over users, and the draw of targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.data import Sequences, user_ratio
from seqlore.data.user_ratio import draw_targets
from seqlore.errors import DataError
from seqlore.experiment.split import SplitSettings
from toys import make_dataset

WALKS = {f"u{u}": [f"i{i}" for i in range(n)] for u, n in enumerate([12, 15, 11, 20, 3, 14, 12, 18, 10, 30] * 2)}


def test_users_are_in_one_part_only_and_their_targets_where_they_may_be():
    split = user_ratio(make_dataset(WALKS), parts=(6, 2, 2), targets=3)
    parts = [set(part.users.tolist()) for part in (split.train, split.valid.histories, split.test.histories)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert len(parts[0]) == 12
    for user, row in zip(split.train.users, split.train, strict=True):
        assert len(row) == len(WALKS[split.users.external(user)])
    for cases in (split.valid, split.test):
        assert cases.histories.lengths.min() >= 10
        assert np.bincount(cases.histories.users).max() <= 3
        for user, history, target in zip(cases.histories.users, cases.histories, cases.targets, strict=True):
            whole = WALKS[split.users.external(user)]
            ids = [split.catalog.external(i) for i in [*history.tolist(), int(target)]]
            assert whole[: len(ids)] == ids
    assert split.describe() == "user-ratio 6:2:2, ties as in the file"
    assert split.how["first"] == 11


def test_it_is_a_function_of_its_seed():
    data = make_dataset(WALKS)
    one, same, other = (user_ratio(data, seed=seed) for seed in (0, 0, 1))
    assert one.test.targets.tolist() == same.test.targets.tolist()
    assert one.train.users.tolist() != other.train.users.tolist()


def test_a_final_fit_takes_the_held_out_users_in():
    split = user_ratio(make_dataset(WALKS), parts=(6, 2, 2))
    both = split.with_validation()
    assert set(both.train.users) == set(split.train.users) | set(split.valid.histories.users)
    for user, row in zip(both.train.users, both.train, strict=True):
        assert len(row) == len(WALKS[split.users.external(user)]), "what stands behind the last target too"
    every = split.with_everything()
    assert len(every.train.items) == sum(map(len, WALKS.values()))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 4), st.integers(1, 5), st.integers(0, 9))
def test_drawn_targets_are_distinct_and_as_many_as_there_are(lengths: list[int], count: int, first: int, seed: int):
    sequences = Sequences.from_lists([range(1, n + 1) for n in lengths], users=range(1, len(lengths) + 1))
    cases = draw_targets(sequences, count, first, seed)
    drawn = [(int(u), int(t)) for u, t in zip(cases.histories.users, cases.targets, strict=True)]
    assert drawn == sorted(set(drawn))
    for user, n in enumerate(lengths, start=1):
        mine = [t for u, t in drawn if u == user]
        assert len(mine) == min(count, max(0, n - first + 1))
        assert all(t >= first for t in mine)
    assert (cases.histories.lengths == cases.targets - 1).all(), "item t stands at position t in this world"


def test_every_position_is_as_likely():
    sequences = Sequences.from_lists([range(1, 7)] * 3000)
    counts = np.bincount(draw_targets(sequences, 1, 3, 0).targets, minlength=7)[3:]
    assert np.abs(counts / 3000 - 0.25).max() < 0.03


def test_a_recipe_makes_it_and_a_fitted_model_names_it():
    data = make_dataset(WALKS)
    settings = SplitSettings(protocol="user-ratio", parts=(6, 2, 2), targets=2, first=5)
    split = settings.make(data, "file")
    assert SplitSettings.of(split.how).make(data, "file").test.targets.tolist() == split.test.targets.tolist()
    with pytest.raises(ValueError, match="'targets' belongs to protocol 'user-ratio', not to 'ratio'"):
        SplitSettings(protocol="ratio", targets=2)
    with pytest.raises(ValueError, match="'parts' belongs to protocol 'ratio' and 'user-ratio'"):
        SplitSettings(parts=(1, 1, 1))


@pytest.mark.parametrize("wrong", [{"parts": (1, -1, 1)}, {"targets": 0}, {"first": 1}])
def test_settings_out_of_range_are_named(wrong: dict):
    with pytest.raises(DataError, match=f"{next(iter(wrong))}=.*: give "):
        user_ratio(make_dataset(WALKS), **wrong)


def test_a_split_without_anybody_to_ask_is_refused():
    with pytest.raises(DataError, match="leave no users to test on"):
        user_ratio(make_dataset({"u": ["a", "b"], "v": ["b", "c"]}))
