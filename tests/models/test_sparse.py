"""Rows of sparse matrices: weights by recency, distinct items, the largest entries, scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from seqlore.data import Sequences
from seqlore.models._sparse import (
    blocks,
    decay_weights,
    distinct,
    from_state,
    largest,
    rows_matrix,
    select,
    steps,
    to_scores,
    to_state,
)


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("none", [1, 1, 1, 1]),
        ("linear", [0.7, 0.8, 0.9, 1.0]),
        ("relative", [0.25, 0.5, 0.75, 1.0]),
        ("log", [1 / (1 + math.log(s)) for s in (4, 3, 2, 1)]),
        ("harmonic", [1 / 4, 1 / 3, 1 / 2, 1]),
        ("quadratic", [1 / 16, 1 / 9, 1 / 4, 1]),
        ("exponential", [1 / 8, 1 / 4, 1 / 2, 1]),
    ],
)
def test_decays_by_hand(decay, expected):
    history = Sequences.from_lists([[5, 6, 7, 8]])
    np.testing.assert_allclose(decay_weights(decay, steps(history), np.full(4, 4)), expected)


@pytest.mark.parametrize("decay", ["none", "linear", "relative", "log", "harmonic", "quadratic", "exponential"])
def test_no_decay_hides_an_event_of_long_ago(decay):
    assert decay_weights(decay, np.array([5000]), np.array([5000]))[0] > 0


def test_distinct_keeps_the_latest_of_each_known_item():
    known = np.array([False, True, True, True, False])
    histories = Sequences.from_lists([[1, 2, 4, 1, 3], [], [0, 4], [2, 2, 2]], users=[1, 2, 3, 4])
    assert [h.tolist() for h in distinct(histories, known)] == [[2, 1, 3], [], [], [2]]
    assert [h.tolist() for h in distinct(histories, known, 2)] == [[1, 3], [], [], [2]]
    assert distinct(histories, known).users.tolist() == [1, 2, 3, 4]


def test_rows_matrix_adds_up_items_that_recur():
    sequences, data = Sequences.from_lists([[2, 1, 2], []]), np.array([1.0, 2.0, 4.0])
    assert rows_matrix(sequences, data, 4).toarray().tolist() == [[0, 2, 5, 0], [0, 0, 0, 0]]
    assert [s.tolist() for s in sequences] == [[2, 1, 2], []], "the sequences are not touched"
    assert data.tolist() == [1, 2, 4]


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_blocks_are_consecutive_and_small(cost, limit):
    slices = list(blocks(np.array(cost, int), limit))
    assert [i for s in slices for i in range(len(cost))[s]] == list(range(len(cost)))
    for s in slices:
        assert sum(cost[s]) <= limit or s.stop - s.start == 1


@given(st.data())
def test_largest_against_sorting(data):
    rows = data.draw(st.lists(st.dictionaries(st.integers(0, 40), st.sampled_from([0.0, 0.5, 1.0, 7.25])), max_size=8))
    k = data.draw(st.integers(1, 6))
    values = [v for row in rows for v in row.values()]
    columns = [c for row in rows for c in row]
    matrix = csr_array((values, columns, np.cumsum([0] + [len(r) for r in rows])), shape=(len(rows), 41))
    kept = select(matrix, largest(matrix, k))
    for i, row in enumerate(rows):
        best = sorted(row.items(), key=lambda entry: (entry[1], entry[0]))[-k:]
        span = slice(kept.indptr[i], kept.indptr[i + 1])
        assert dict(zip(kept.indices[span].tolist(), kept.data[span].tolist(), strict=True)) == dict(best)


def test_largest_takes_sums_as_equal_that_differ_by_their_order_only():
    a, b = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
    assert a > b  # in the last of 53 bits
    matrix = csr_array((np.array([a, b]), np.array([0, 1]), np.array([0, 2])), shape=(1, 2))
    assert largest(matrix, 1).tolist() == [False, True]


def test_scores_of_rows_with_and_without_evidence():
    # Row 0 has evidence for item 2, row 1 for its own item 1 only, row 2 for nothing.
    evidence = csr_array((np.array([0.5, 0.25]), np.array([2, 1]), np.array([0, 1, 2, 2])), shape=(3, 4))
    histories = Sequences.from_lists([[1], [1], []])
    scores = to_scores(evidence, histories, np.array([0.0, 0.5, 0.25, 0.0]))
    low = -math.inf
    assert scores.tolist() == [[low, low, 0.5, low], [-1, 0.25, -0.75, -1], [-1, -0.5, -0.75, -1]]


def test_a_matrix_survives_a_model_folder():
    matrix = csr_array(np.array([[0, 1.5, 0], [0, 0, 0], [2.5, 0, 3.5]]))
    again = from_state(to_state(matrix, "m"), "m", 3)
    assert (again.toarray() == matrix.toarray()).all()
