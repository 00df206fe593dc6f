"""The first-order Markov chain."""

from __future__ import annotations

import pytest

from seqlore.data import Sequences
from seqlore.models.markov import Markov
from toys import make_split

WALKS = {"u": ["a", "b", "c"], "v": ["a", "b", "d"], "w": ["a", "d", "b"]}


def scores(model: Markov, *history: str) -> dict[str, float]:
    dense = Sequences.from_lists([model.catalog.index(history)])
    return dict(zip(model.catalog.ids, model.score(dense)[0, 1:].tolist(), strict=True))


def test_transition_probabilities_by_hand():
    model = Markov(prior=1.0).fit(make_split(WALKS))
    # a → b twice, a → d once; of the nine events 3 are a, 3 b, 1 c, 2 d.
    found = scores(model, "c", "a")
    assert found == pytest.approx({"a": 3 / 9 / 4, "b": (2 + 3 / 9) / 4, "c": 1 / 9 / 4, "d": (1 + 2 / 9) / 4})
    assert sum(found.values()) == pytest.approx(1)


def test_a_strong_prior_is_popularity():
    model = Markov(prior=1e6).fit(make_split(WALKS))
    assert scores(model, "a") == pytest.approx({"a": 3 / 9, "b": 3 / 9, "c": 1 / 9, "d": 2 / 9}, abs=1e-4)


@pytest.mark.parametrize("history", [(), ("c",), ("unheard of",)])
def test_where_nothing_followed_popularity_is_all(history):
    model = Markov().fit(make_split(WALKS))  # nothing ever followed c
    assert scores(model, *history) == pytest.approx({"a": 3 / 9, "b": 3 / 9, "c": 1 / 9, "d": 2 / 9})


def test_unknown_items_are_skipped():
    model = Markov().fit(make_split(WALKS))
    assert scores(model, "a", "unheard of") == scores(model, "a")


def test_a_window_counts_later_items_by_their_distance():
    model = Markov(window=2, prior=1e-9).fit(make_split(WALKS))
    # From a: b at once twice and d once; c, d and b one later, half each.
    assert scores(model, "a") == pytest.approx({"a": 0, "b": 2.5 / 4.5, "c": 0.5 / 4.5, "d": 1.5 / 4.5}, abs=1e-6)


def test_sequences_do_not_run_into_each_other():
    model = Markov(prior=1e-9, window=3).fit(make_split({"u": ["a", "b"], "v": ["c", "d"]}))
    assert scores(model, "b")["c"] == pytest.approx(1 / 4)  # popularity, no transition
