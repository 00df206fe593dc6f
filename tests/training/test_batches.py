"""Windows and batches: every event is trained on once, within the budget."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seqlore.data import Sequences
from seqlore.training.batches import padded_batches, plan, shuffle_ties, windows


def test_windows_by_hand():
    s = Sequences.from_lists([[1, 2, 3, 4, 5], [6], []], users=[7, 8, 9])
    assert [w.tolist() for w in windows(s, 2)] == [[4, 5], [2, 3], [1], [6], []]
    assert windows(s, 2).users.tolist() == [7, 7, 7, 8, 9]
    assert [w.tolist() for w in windows(s, 2, "last")] == [[4, 5], [6], []]


def test_ties_are_shuffled_within_a_sequence_and_a_time_only():
    s = Sequences.from_lists([[1, 2, 3, 4], [5, 6]])
    s = Sequences(s.items, s.offsets, timestamps=np.array([7, 8, 8, 8, 8, 9]))
    seen = {tuple(shuffle_ties(s, np.random.default_rng(seed)).items.tolist()) for seed in range(60)}
    assert seen == {(1, *middle, 5, 6) for middle in permutations([2, 3, 4])}
    timeless = Sequences(s.items, s.offsets)
    assert shuffle_ties(timeless, np.random.default_rng(0)) is timeless


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 64), st.booleans())
def test_a_plan_holds_every_row_once_within_the_budget(lengths, tokens, shuffled):
    lengths = np.asarray(lengths, np.int64)
    batches = plan(lengths, tokens, np.random.default_rng(0) if shuffled else None)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for b in batches:
        assert len(b) == 1 or len(b) * max(lengths[b].max(), 1) <= tokens


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=20))
def test_padded_batches_hold_every_sequence(lists):
    s = Sequences.from_lists(lists)
    seen = {}
    for index, items, _ in padded_batches(s, 24, np.random.default_rng(1)):
        assert items.shape[1] == s.lengths[index].max()
        for i, row in zip(index, items.tolist(), strict=True):
            seen[int(i)] = [x for x in row if x]
    assert seen == dict(enumerate(lists))


def test_shards_are_disjoint_and_equally_many():
    s = Sequences.from_lists([[1]] * 10)
    shards = [list(padded_batches(s, 3, np.random.default_rng(0), (r, 2))) for r in (0, 1)]
    assert [len(x) for x in shards] == [2, 2]
    rows = [set(np.concatenate([b[0] for b in x]).tolist()) for x in shards]
    assert not rows[0] & rows[1]


def test_the_same_seed_gives_the_same_batches():
    s = Sequences.from_lists([[1] * n for n in range(1, 30)])
    a, b = ([i.tolist() for i, _, _ in padded_batches(s, 50, np.random.default_rng(5))] for _ in range(2))
    assert a == b
