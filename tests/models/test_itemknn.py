"""Item-based neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqlore.data import Sequences
from seqlore.models import itemknn
from seqlore.models.itemknn import ItemKNN
from toys import make_split

#: a is in 3 sequences, b in 2, c in 2, d in 1; a and b share 2, a and c share 1, c and d share 1.
WORLD = {"u": ["a", "b"], "v": ["b", "a", "b"], "w": ["a", "c"], "x": ["c", "d"]}


def listed(model: ItemKNN, *history: str) -> dict[str, float]:
    out = model.recommend([list(history)], k=20)
    return dict(zip(out.items[0], out.scores[0].tolist(), strict=False))


@pytest.mark.parametrize(
    ("chosen", "b", "c"),
    [
        ({"similarity": "cosine"}, 2 / math.sqrt(6), 1 / math.sqrt(6)),
        ({"similarity": "cosine", "shrinkage": 2}, 2 / (math.sqrt(6) + 2), 1 / (math.sqrt(6) + 2)),
        ({"similarity": "jaccard"}, 2 / 3, 1 / 4),
        ({"similarity": "dice"}, 4 / 5, 2 / 5),
        ({"similarity": "conditional", "alpha": 0}, 2 / 3, 1 / 3),
        ({"similarity": "conditional", "alpha": 1}, 2 / 6, 1 / 6),
    ],
)
def test_similarities_by_hand(chosen, b, c):
    model = ItemKNN(**{"shrinkage": 0, **chosen}).fit(make_split(WORLD))
    assert listed(model, "a") == pytest.approx({"b": b, "c": c})


def test_evidence_adds_up_and_fades_with_age():
    split = make_split(WORLD)
    chosen = {"similarity": "dice", "shrinkage": 0}
    model = ItemKNN(**chosen, decay="harmonic").fit(split)
    # Of c: d 2/3. Of b, one step older: nothing but a, which was seen.
    assert listed(model, "a", "b", "c") == pytest.approx({"d": 2 / 3})
    assert listed(model, "c", "b") == pytest.approx({"a": 4 / 5 + 0.5 * 2 / 5, "d": 0.5 * 2 / 3})
    assert listed(ItemKNN(**chosen, decay="none").fit(split), "c", "b") == pytest.approx({"a": 6 / 5, "d": 2 / 3})
    assert listed(ItemKNN(**chosen, last_n_items=1).fit(split), "c", "b") == pytest.approx({"a": 4 / 5})


def test_only_the_k_nearest_count():
    model = ItemKNN(k=1, similarity="cosine").fit(make_split(WORLD))
    assert list(listed(model, "a")) == ["b"]


def test_without_evidence_popularity_stands_in_below_zero():
    model = ItemKNN().fit(make_split({**WORLD, "y": ["lonely"]}))
    for history in ((), ("lonely",), ("unheard of",)):
        found = listed(model, *history)
        assert next(iter(found)) in "ab"
        assert all(s < 0 for s in found.values())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=6), min_size=1, max_size=8), st.integers(1, 4))
def test_blocks_do_not_change_the_similarities(sequences, k):
    split = make_split({f"u{n}": [str(i) for i in s] for n, s in enumerate(sequences)})
    histories = Sequences.from_lists([[i] for i in range(1, split.catalog.size)])
    whole = ItemKNN(k=k).fit(split).score(histories).numpy()
    pairs, itemknn.PAIRS = itemknn.PAIRS, 1
    try:
        np.testing.assert_array_equal(ItemKNN(k=k).fit(split).score(histories).numpy(), whole)
    finally:
        itemknn.PAIRS = pairs
