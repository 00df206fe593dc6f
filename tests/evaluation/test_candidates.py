"""The order of candidate lists, and what may be drawn into them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.data import leave_one_out
from seqlore.evaluation import sample_candidates
from seqlore.evaluation.candidates import items_of_users, shuffled
from toys import make_dataset


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=12, unique=True), st.randoms(), st.integers(0, 5))
def test_the_order_follows_from_the_set_and_the_seed_alone(items: list[int], chance, seed: int):
    other = list(items)
    chance.shuffle(other)
    row = shuffled(np.array([items]), seed)[0].tolist()
    assert sorted(row) == sorted(items)
    assert shuffled(np.array([[0, *other, 0], [*items, 7_000_000, 0]]), seed)[0].tolist() == [*row, 0, 0]


def test_every_place_is_as_likely_for_every_item():
    rng = np.random.default_rng(0)
    rows = np.array([rng.choice(50, 8, replace=False) + 1 for _ in range(4000)])
    first = rows[:, 0]
    places = np.argmax(shuffled(rows, 3) == first[:, None], axis=1)
    assert np.abs(np.bincount(places, minlength=8) / 4000 - 1 / 8).max() < 0.02
    assert (shuffled(rows, 3) != shuffled(rows, 4)).any(1).mean() > 0.99
    assert (shuffled(rows, (3, 1)) != shuffled(rows, (3, 2))).any(1).mean() > 0.99


def test_a_users_later_items_are_drawn_or_not():
    walks = {f"u{u}": ["a", "b", "c", "d"] for u in range(30)} | {"v": ["e", "f", "g", "h"]}
    split = leave_one_out(make_dataset(walks))
    code = {name: int(split.catalog.index([name])[0]) for name in "abcdefgh"}
    asked = sample_candidates(split, 3, on="valid")
    mine = asked.histories.users != split.users.index(["v"])[0]
    assert (asked.candidates[mine] == code["d"]).any(), "d comes later, and so far nobody has it"
    strict = sample_candidates(split, 3, on="valid", unseen="user")
    assert not (strict.candidates[mine] == code["d"]).any()
    assert (strict.candidates == strict.targets[:, None]).any(1).all()
    assert "never has" in strict.rule
    owned = items_of_users(split)
    assert len(owned) == split.users.size
    assert len(owned[0]) == 0
    assert sorted(owned[int(split.users.index(["v"])[0])].tolist()) == sorted(code[c] for c in "efgh")
