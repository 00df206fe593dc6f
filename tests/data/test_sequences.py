"""Ragged containers against plain lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.data import Cases, Sequences
from seqlore.data.splits import last_as_target

lists = st.lists(st.lists(st.integers(1, 50), max_size=8), max_size=12)


def with_columns(rows: list[list[int]]) -> Sequences:
    """Sequences whose aligned columns are functions of the place, so that a wrong cut shows."""
    s = Sequences.from_lists(rows, users=range(1, len(rows) + 1))
    place = np.arange(len(s.items))
    return Sequences(s.items, s.offsets, s.users, rows=place, timestamps=place * 10, ratings=place.astype(np.float32))


def check_aligned(s: Sequences) -> None:
    assert s.rows is not None
    assert s.timestamps is not None
    assert s.ratings is not None
    assert (s.timestamps == s.rows * 10).all()
    assert (s.ratings == s.rows).all()


@given(lists, st.integers(1, 5))
def test_cuts_equal_those_of_lists(rows, n):
    s = with_columns(rows)
    assert [x.tolist() for x in s] == rows
    for cut, expected in (
        (s.last(n), [r[-n:] for r in rows]),
        (s.drop_last(n), [r[: max(len(r) - n, 0)] for r in rows]),
        (s.where(s.items % 2 == 0), [[x for x in r if x % 2 == 0] for r in rows]),
        (s.take(slice(None, None, -1)), rows[::-1]),
    ):
        assert [x.tolist() for x in cut] == expected
        check_aligned(cut)
    assert s.take(slice(None, None, -1)).users.tolist() == list(range(len(rows), 0, -1))


@given(lists, st.integers(0, 2**31))
def test_take_repeats_and_reorders(rows, seed):
    s = with_columns(rows)
    index = np.random.default_rng(seed).integers(0, len(rows), 7) if rows else np.zeros(0, int)
    taken = s.take(index)
    assert [x.tolist() for x in taken] == [rows[i] for i in index]
    assert taken.users.tolist() == [i + 1 for i in index]


@given(lists)
def test_padded_is_right_padded(rows):
    s = with_columns(rows)
    width = max(map(len, rows), default=0)
    assert s.padded().tolist() == [r + [0] * (width - len(r)) for r in rows]
    assert s.padded(2).tolist() == [([*r[-2:], 0, 0])[:2] for r in rows]


@given(lists, lists)
def test_concat(a, b):
    joined = Sequences.concat([with_columns(a), with_columns(b)])
    assert [x.tolist() for x in joined] == a + b
    assert joined.users.tolist() == [*range(1, len(a) + 1), *range(1, len(b) + 1)]


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=8))
def test_cases_join_to_what_they_were_cut_from(rows):
    s = with_columns(rows)
    cases = last_as_target(s)
    assert cases.targets.tolist() == [r[-1] for r in rows]
    joined = cases.joined()
    assert [x.tolist() for x in joined] == rows
    assert joined.rows.tolist() == s.rows.tolist()
    assert joined.timestamps.tolist() == s.timestamps.tolist()


def test_cases_take_keeps_everything_together():
    histories = Sequences.from_lists([[1], [2, 3], []])
    cases = Cases(histories, np.array([4, 5, 6], np.int32), candidates=np.array([[1], [2], [3]]), rows=np.arange(3))
    some = cases.take(np.array([2, 1]))
    assert some.targets.tolist() == [6, 5]
    assert some.candidates.tolist() == [[3], [2]]
    assert some.rows.tolist() == [2, 1]
    assert [h.tolist() for h in some.histories] == [[], [2, 3]]


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Sequences(np.zeros(3, np.int32), np.array([0, 2]))
