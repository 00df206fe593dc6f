"""From completions to lists, worked out by hand on a catalogue of six items on a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqlore.data import Sequences
from seqlore.language.slate import SlateMaker

TITLES = ["", "A", "B", "C", "A", "", "F"]
COUNTS = np.array([0, 1, 5, 5, 3, 9, 0])
#: Angles at which the items stand; the dot product with a unit vector is the cosine of the difference.
ANGLES = {1: 0.0, 2: 0.2, 3: 0.5, 4: 0.9, 6: 1.4}
EMPTY = Sequences.from_lists([[]])


def at(angle: float) -> list[float]:
    return [float(np.cos(angle)), float(np.sin(angle))]


@pytest.fixture
def maker() -> SlateMaker:
    vectors = torch.tensor([at(ANGLES[i]) if i in ANGLES else [0.0, 0.0] for i in range(7)])
    return SlateMaker(TITLES, COUNTS, vectors, lambda texts: np.array([at(float(t)) for t in texts], np.float32))


def made(maker: SlateMaker, completions: list[list[str]], k: int = 6, **rules):
    histories = rules.pop("histories", Sequences.from_lists([[]] * len(completions)))
    lists, told = maker.lists(completions, histories, k, **rules)
    return [[int(i) for i in row if i] for row in lists.items], lists.scores, told


def test_titles_are_ranked_by_frequency_and_copies_become_neighbours(maker):
    # C twice, B once, F once: the copy of C becomes C's nearest that is not in the list: B is, so A (0.5 away), item 1.
    items, scores, told = made(maker, [["C", "B", "C", "F"]])
    assert items == [[3, 2, 6, 4]]  # 4 stands 0.4 from C, 1 stands 0.5 from it
    np.testing.assert_allclose(scores[0, :4], [0.5, 0.25, 0.25, 0.25 / (2 + 3)])
    assert told.to_dict() == {
        "invented_completions": 0.0,
        "duplicate_completions": 0.25,
        "barred_completions": 0.0,
        "empty_completions": 0.0,
    }


def test_equal_frequencies_are_ordered_by_index(maker):
    assert made(maker, [["F", "C", "B"]])[0] == [[2, 3, 6]]


def test_what_does_not_exist_becomes_its_nearest_and_keeps_its_frequency(maker):
    items, scores, told = made(maker, [["1.3", "B", "1.3"]])
    assert items == [[6, 2, 4]]  # 1.3 is nearest to 6; its copy to 4
    np.testing.assert_allclose(scores[0, :3], [2 / 3, 1 / 3, 1 / 12])
    assert told.invented == pytest.approx(2 / 3)
    assert told.duplicate == pytest.approx(1 / 3)


def test_an_invention_never_takes_what_was_written(maker):
    # 0.21 and 0.19 are both nearest to B, which was written too: they get the next nearest, the frequent one first.
    items, _, _ = made(maker, [["0.21", "B", "0.19", "0.21"]], k=3)
    assert items[0][0] == 1  # 0.21 → A at 0 (0.21 away; C is 0.29 away)
    assert items[0][1:] == [2, 3]


def test_of_items_with_one_title_the_popular_one_is_meant_unless_it_is_barred(maker):
    assert made(maker, [["A"]])[0] == [[4]]
    histories = Sequences.from_lists([[4]])
    assert made(maker, [["A"]], histories=histories)[0] == [[1]]
    assert made(maker, [["A"]], histories=histories, exclude_seen=False)[0] == [[4]]


def test_what_may_not_be_listed_is_replaced_as_a_copy_is(maker):
    histories = Sequences.from_lists([[2, 1]])
    items, scores, told = made(maker, [["B", "B", "C"]], histories=histories)
    assert items == [[4, 3, 6]]  # near B (0.2): A (seen), C (written), 4, then 6 for the copy
    np.testing.assert_allclose(scores[0, :3], [2 / 3, 1 / 3, 1 / 12])
    assert told.barred == pytest.approx(2 / 3)
    assert told.invented == 0


@pytest.mark.parametrize("candidates", [np.array([6, 0, 1]), np.array([[6, 0, 1]])])
def test_only_candidates_are_listed(maker, candidates):
    assert made(maker, [["B", "C", "B", "F"]], candidates=candidates)[0] == [[1, 6]]


def test_items_without_a_text_and_empty_completions_are_passed_over(maker):
    items, _, told = made(maker, [["", "F", "F", "F", "F", "F", "F"], ["", ""]])
    assert items == [[6, 4, 3, 2, 1], []]  # item 5 has no vector
    assert told.empty == pytest.approx(3 / 9)
    assert told.completions == 9


def test_lists_are_cut_to_k_and_cases_do_not_mix(maker):
    items, scores, _ = made(maker, [["B", "C"], ["F", "F"]], k=1)
    assert items == [[2], [6]]
    assert scores.shape == (2, 1)
    assert made(maker, [], k=3)[0] == []
