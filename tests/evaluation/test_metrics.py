"""Metrics by hand, and the laws that hold between them."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seqlore.evaluation import metrics, paired

LISTS = np.array([[5, 2, 7, 1], [3, 4, 0, 0], [6, 5, 4, 3], [0, 0, 0, 0]])
TARGETS = np.array([2, 9, 3, 1])


@pytest.mark.parametrize("module", [metrics, paired])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


def test_positions_count_from_one_and_zero_means_not_listed() -> None:
    assert metrics.positions(LISTS, TARGETS).tolist() == [2, 0, 4, 0]


def test_accuracy_by_hand() -> None:
    position = metrics.positions(LISTS, TARGETS)
    assert metrics.hit_rate(position, 3).tolist() == [1, 0, 0, 0]
    assert metrics.hit_rate(position, 4).tolist() == [1, 0, 1, 0]
    assert metrics.ndcg(position, 4) == pytest.approx([1 / math.log2(3), 0, 1 / math.log2(5), 0])
    assert metrics.mrr(position, 4) == pytest.approx([1 / 2, 0, 1 / 4, 0])


def test_coverage_counts_items_once_and_padding_never() -> None:
    assert metrics.coverage(LISTS, 2, 10) == 5 / 10  # 2, 3, 4, 5, 6
    assert metrics.coverage(LISTS, 4, 10) == 7 / 10


def test_serendipity_with_one_popular_list_or_one_a_case() -> None:
    position, targets = np.array([1, 2, 3, 0]), np.array([7, 8, 9, 6])
    assert metrics.serendipity(position, targets, np.array([9, 7, 8]), 3).tolist() == [0, 0, 0, 0]
    assert metrics.serendipity(position, targets, np.array([9, 1, 8]), 2).tolist() == [1, 1, 0, 0]
    own = np.array([[7, 1], [1, 2], [9, 1], [6, 1]])
    assert metrics.serendipity(position, targets, own, 3).tolist() == [0, 1, 0, 0]


def test_novelty_is_mean_self_information_with_unseen_items_as_bought_once() -> None:
    counts = np.array([0, 4, 3, 1, 0])  # Σ = 8
    found = metrics.novelty(np.array([[1, 3, 4], [2, 0, 0], [0, 0, 0]]), counts, 3)
    assert found == pytest.approx([(1 + 3 + 3) / 3, math.log2(8 / 3), 0])


def test_most_popular_breaks_ties_by_index_and_ends_with_the_catalogue() -> None:
    assert metrics.most_popular(np.array([99, 1, 5, 5, 0]), 3).tolist() == [2, 3, 1]
    assert metrics.most_popular(np.array([99, 1, 5]), 9).tolist() == [2, 1]


positions = arrays(np.int32, st.integers(1, 20), elements=st.integers(0, 30))


@given(position=positions, k=st.integers(1, 30))
def test_mrr_at_most_ndcg_at_most_hr(position: np.ndarray, k: int) -> None:
    hr, ndcg, mrr = (f(position, k) for f in (metrics.hit_rate, metrics.ndcg, metrics.mrr))
    assert (mrr >= 0).all()
    assert (mrr <= ndcg + 1e-12).all()
    assert (ndcg <= hr).all()
    assert (hr <= 1).all()
    assert (metrics.average_precision(position, k) == mrr).all()


@given(position=positions, k=st.integers(1, 30), more=st.integers(0, 10))
def test_accuracy_never_falls_with_k(position: np.ndarray, k: int, more: int) -> None:
    for metric in (metrics.hit_rate, metrics.ndcg, metrics.mrr):
        assert (metric(position, k) <= metric(position, k + more)).all()


lists = arrays(np.int32, st.tuples(st.integers(1, 8), st.integers(1, 6)), elements=st.integers(0, 12))


@given(lists=lists, k=st.integers(1, 6), seed=st.integers(0, 9))
def test_coverage_is_a_share_that_grows_with_k_and_ignores_the_order_of_cases(
    lists: np.ndarray, k: int, seed: int
) -> None:
    covered = metrics.coverage(lists, k, 12)
    assert 0 <= covered <= metrics.coverage(lists, k + 1, 12) <= 1
    assert covered == metrics.coverage(np.random.default_rng(seed).permutation(lists), k, 12)


@given(lists=lists, counts=arrays(np.int64, 13, elements=st.integers(0, 50)), k=st.integers(1, 6))
def test_novelty_lies_between_that_of_the_most_and_the_least_popular_item(
    lists: np.ndarray, counts: np.ndarray, k: int
) -> None:
    found = metrics.novelty(lists, counts, k)
    single = metrics.novelty(np.arange(1, 13)[:, None], counts, 1)
    some = (lists[:, :k] > 0).any(1)
    assert (found[~some] == 0).all()
    assert (found[some] >= single.min() - 1e-9).all()
    assert (found[some] <= single.max() + 1e-9).all()
