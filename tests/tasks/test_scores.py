"""Scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seqlore.errors import DataError
from seqlore.tasks.scores import list_places, list_scores, place_scores, rating_scores, star_scores, text_scores


def test_stars():
    found = rating_scores(np.array([3.0, 0.0, 4.5]), np.array([5.0, 1.0, 4.0]))
    assert found.values["rmse"] == pytest.approx(np.sqrt((4 + 0 + 0.25) / 3))
    assert found.values["mae"] == pytest.approx(2.5 / 3)
    assert found.per_case["squared_error"].tolist() == [4, 0, 0.25]
    with pytest.raises(DataError, match="a number for each"):
        rating_scores(np.array([np.nan]), np.array([3.0]))


def test_the_likeliest_star_and_the_expected_one():
    log_p = np.log([[0.1, 0.1, 0.1, 0.3, 0.4], [0.6, 0.1, 0.1, 0.1, 0.1]]) - 7.0  # shares need not sum to 1
    found = star_scores(log_p, np.array([4.0, 1.0]))
    assert found.values["rmse"] == pytest.approx(np.sqrt((1 + 0) / 2))
    assert found.values["rmse_expected"] == pytest.approx(np.sqrt(((3.8 - 4) ** 2 + (2.0 - 1) ** 2) / 2))
    assert found.values["mae_expected"] == pytest.approx((0.2 + 1.0) / 2)


def test_texts():
    same = text_scores(["the sound is great"], ["the sound is great"])
    assert same.values == pytest.approx({"bleu2": 100, "bleu4": 100, "rouge1": 100, "rouge2": 100, "rougel": 100})
    found = text_scores(["the sound is bad", "x"], ["the sound was bad", "y"])
    # Words: 3 of 4 agree; pairs: "the sound" of three; the longest common order: the sound bad.
    assert found.per_case["rouge1"].tolist() == [75, 0]
    assert found.per_case["rouge2"].tolist() == pytest.approx([100 / 3, 0])
    assert found.values["rougel"] == pytest.approx(37.5)
    # BLEU-2 of the corpus: 3 of 5 words, 1 of 3 pairs, no brevity penalty.
    assert found.values["bleu2"] == pytest.approx(100 * np.sqrt(3 / 5 * 1 / 3))
    with pytest.raises(DataError, match="1 texts were written and 0 are wanted"):
        text_scores(["a"], [])


def test_case_is_ignored_and_both_sides_have_one_limit():
    wanted, written = ["The Sound is GREAT.", "Lovely strap"], ["the sound is bad.", "a lovely Strap"]
    plain = text_scores(written, wanted)
    shouted = text_scores([w.upper() for w in written], [w.lower() for w in wanted])
    assert shouted.values == plain.values
    assert plain.values["bleu2"] > 50
    assert text_scores(["one two three four"], ["ONE two five"], words=2).values["rouge1"] == 100


def test_what_is_not_named_is_a_miss():
    candidates, scores = np.array([[3, 5, 9, 11]] * 2), np.array([[-np.inf, 0.0, -np.inf, -1.0]] * 2)
    assert list_places(scores, candidates, np.array([3, 11])).tolist() == [0, 2]
    assert list_scores(scores, candidates, np.array([3, 11]), at=(1, 3)).values["hr@3"] == 0.5


def test_lists():
    candidates = np.array([[3, 5, 9], [2, 4, 0], [1, 2, 3]])
    scores = np.array([[0.1, 0.9, 0.5], [0.2, 0.2, 9.0], [0.0, 0.0, 0.0]])
    found = list_scores(scores, candidates, np.array([9, 4, 1]), at=(1, 2))
    # 9 is second; 2 and 4 are equal, so the lower index is first; padding is never listed.
    assert found.per_case["hr@1"].tolist() == [0, 0, 1]
    assert list_places(scores, candidates, np.array([9, 4, 1])).tolist() == [2, 2, 1]
    assert "hr@2" not in found.values, "the second list has two items only"
    assert found.values["listed"] == 2
    with pytest.raises(DataError, match="not a number"):
        list_scores(scores * np.nan, candidates, np.array([9, 4, 1]))
    assert place_scores(np.array([0, 6]), at=(5, 10)).values["hr@10"] == 0.5
