"""Score, mask, top-k: exact against a sort of everything, whatever the ties, the masks and the chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seqlore import ranking
from seqlore.data import Sequences
from seqlore.ranking import mask_, rank, top_k

INF = float("inf")


def reference(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each row by a full sort: score descending, then index ascending; (0, −inf) fills up."""
    items, values = np.zeros((len(scores), k), int), np.full((len(scores), k), -INF)
    for i, row in enumerate(scores):
        order = [j for j in np.lexsort((np.arange(len(row)), -row)) if row[j] > -INF][:k]
        items[i, : len(order)], values[i, : len(order)] = order, row[order]
    return items, values


few_values = st.sampled_from([-INF, -1.0, -0.0, 0.0, 0.5, 2.0])
blocks = st.tuples(st.integers(1, 6), st.integers(2, 12)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.one_of(few_values, st.floats(-3, 3, width=16)))
)


@given(scores=blocks, k=st.integers(1, 15))
def test_top_k_equals_a_full_sort(scores: np.ndarray, k: int) -> None:
    index, values = top_k(torch.tensor(scores), k)
    items, expected = reference(scores, k)
    assert (values.numpy() == expected).all()
    assert (index.numpy() == np.where(expected > -INF, items, 0)).all()


def test_ties_inside_the_list_go_to_the_lower_index() -> None:
    index, _ = top_k(torch.tensor([[0.0, 1, 3, 1, 2, 1]]), 4)
    assert index.tolist() == [[2, 4, 1, 3]]


def test_ties_across_the_edge_let_the_lowest_indices_in() -> None:
    scores = torch.zeros(1, 5000)
    scores[0, 4999] = 1  # one item above a tie of all others
    assert top_k(scores, 3)[0].tolist() == [[4999, 0, 1]]
    scores[0, :3000] = -1  # the tie begins beyond the first columns
    assert top_k(scores, 3)[0].tolist() == [[4999, 3000, 3001]]


def test_what_must_not_be_listed_is_not_and_k_may_exceed_the_catalogue() -> None:
    index, values = top_k(torch.tensor([[-INF, 1.0, -INF, 2.0]]), 6)
    assert index.tolist() == [[3, 1, 0, 0, 0, 0]]
    assert values.tolist() == [[2.0, 1.0, -INF, -INF, -INF, -INF]]


def test_mask_takes_out_padding_and_seen_items() -> None:
    histories = Sequences.from_lists([[1, 3], [], [2]])
    masked = mask_(torch.ones(3, 5), histories, exclude_seen=True)
    assert (masked == -INF).tolist() == [
        [True, True, False, True, False],
        [True, False, False, False, False],
        [True, False, True, False, False],
    ]
    kept = mask_(torch.ones(3, 5), histories, exclude_seen=False)
    assert (kept == -INF).nonzero().tolist() == [[0, 0], [1, 0], [2, 0]]


@pytest.mark.parametrize("each", [False, True])
def test_mask_keeps_the_candidates_only(each: bool) -> None:
    histories = Sequences.from_lists([[1], [4]])
    candidates = np.array([[1, 2, 0], [4, 3, 3]]) if each else np.array([2, 4, 0])
    masked = mask_(
        torch.tensor([[9.0, 1, 2, 3, 4], [9, 1, 2, 3, 4]]), histories, exclude_seen=True, candidates=candidates
    )
    listed = [[j for j in range(5) if row[j] > -INF] for row in masked.tolist()]
    assert listed == ([[2], [3]] if each else [[2, 4], [2]])


worlds = st.integers(2, 9).flatmap(
    lambda size: st.tuples(
        arrays(np.float32, st.tuples(st.integers(1, 7), st.just(size)), elements=few_values.filter(lambda x: x > -INF)),
        st.lists(st.lists(st.integers(0, size - 1), max_size=4), min_size=7, max_size=7),
        st.none() | st.lists(st.integers(0, size - 1), min_size=1, max_size=size),
    )
)


@settings(deadline=None)
@given(world=worlds, k=st.integers(1, 10), block=st.integers(1, 40), exclude_seen=st.booleans(), each=st.booleans())
def test_rank_equals_the_reference_in_chunks_of_any_size(
    world: tuple, k: int, block: int, exclude_seen: bool, each: bool
) -> None:
    scores, lists, allowed = world
    n, size = scores.shape
    histories = Sequences.from_lists(lists[:n], users=range(n))  # the user tells the model which row is asked for
    candidates = None if allowed is None else np.array([allowed] * n if each else allowed)
    targets = np.arange(n) % (size - 1) + 1

    expected = scores.astype(float)
    expected[:, 0] = -INF
    for i in range(n):
        if exclude_seen:
            expected[i, lists[i]] = -INF
        if allowed is not None:
            expected[i, [j for j in range(size) if j not in allowed]] = -INF
    items, values = reference(expected, k)
    own = expected[np.arange(n), targets]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "BLOCK", block)
        found = rank(
            lambda part: torch.tensor(scores)[part.users.astype(int)],
            histories,
            k,
            size=size,
            exclude_seen=exclude_seen,
            candidates=candidates,
            targets=targets,
        )
    assert (found.items == items).all()
    assert (found.scores == values).all()
    assert found.target_tied is not None
    assert (found.target_tied == (((expected == own[:, None]).sum(1) > 1) & (own > -INF))).all()


def test_a_large_catalogue_is_scored_a_few_histories_at_a_time() -> None:
    size, rows = 1_000_001, []
    weights = torch.zeros(size)
    weights[[7, 999_999]] = torch.tensor([1.0, 2.0])

    def score(part: Sequences) -> torch.Tensor:
        rows.append(len(part))
        return weights.repeat(len(part), 1)

    found = rank(score, Sequences.from_lists([[7]] + [[]] * 19), 3, size=size, targets=np.full(20, 7))
    assert max(rows) * size <= ranking.BLOCK
    assert sum(rows) == 20
    assert found.items[0].tolist() == [999_999, 1, 2]
    assert (found.items[1:] == [999_999, 7, 1]).all()
    assert not found.target_tied.any()  # type: ignore[union-attr]


def test_scores_that_are_not_numbers_are_refused() -> None:
    def score(part: Sequences) -> torch.Tensor:
        scores = torch.ones(len(part), 6)
        scores[-1, 4] = float("nan")
        return scores

    with pytest.raises(ValueError, match="not numbers"):
        rank(score, Sequences.from_lists([[1], [2]]), 2, size=6)


def test_scores_of_both_infinities_are_numbers() -> None:
    found = rank(lambda part: torch.tensor([[0.0, INF, -INF, 1]]), Sequences.from_lists([[]]), 3, size=4)
    assert found.items.tolist() == [[1, 3, 0]]


def test_no_histories_give_no_lists() -> None:
    found = rank(lambda part: torch.ones(len(part), 6), Sequences.from_lists([]), 2, size=6)
    assert found.items.shape == (0, 2)


def test_scores_that_need_gradients_are_ranked_without_them() -> None:
    table = torch.nn.Parameter(torch.arange(5.0))
    found = rank(lambda part: (table * 2).repeat(len(part), 1), Sequences.from_lists([[4]]), 2, size=5)
    assert found.items.tolist() == [[3, 2]]
