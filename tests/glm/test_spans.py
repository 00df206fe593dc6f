"""What is blanked: whole units, apart from each other, as much as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlore.errors import ConfigError
from seqlore.glm.marks import LEVELS
from seqlore.glm.spans import (
    MaskConfig,
    sample_blanks,
    sample_spans,
    sample_tail,
    sentence_edges,
    unit_edges,
)

FIGURE = np.array([1, 1, 1, 0, 0, 2, 2])


@st.composite
def documents(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """(entity of each token, whether a sentence ends with it); sentences end outside of entities."""
    units = draw(st.lists(st.integers(0, 4), min_size=1, max_size=15))  # 0 = a plain token, else an entity's length
    entity = [n for i, size in enumerate(units, start=1) for n in ([i] * size if size else [0])]
    ends = [draw(st.booleans()) if e == 0 else False for e in entity]
    return np.array(entity), np.array(ends)


def test_units_of_figure_1():
    assert unit_edges(FIGURE).tolist() == [0, 3, 4, 5, 7]
    assert unit_edges(np.zeros(3, int)).tolist() == [0, 1, 2, 3]
    assert unit_edges(np.array([1, 1, 2, 2])).tolist() == [0, 2, 4]
    assert unit_edges(np.array([], int)).tolist() == [0]
    assert sentence_edges(np.array([0, 1, 0, 0, 1], bool)).tolist() == [0, 2, 5]
    assert sentence_edges(np.array([0, 1, 0], bool)).tolist() == [0, 2, 3]


@given(documents(), st.integers(0, 99), st.sampled_from([(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)]))
def test_spans_are_whole_units_in_order_and_apart(document, seed: int, levels: tuple[float, float, float]):
    entity, ends = document
    config = MaskConfig(levels=levels)
    spans, level = sample_blanks(entity, ends, np.random.default_rng(seed), config)
    edges = set(unit_edges(entity).tolist())
    assert len(spans)
    assert all(int(x) in edges for x in spans.flatten())
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans[1:, 0] > spans[:-1, 1]).all(), "neighbours have a token between them"
    blanked = (spans[:, 1] - spans[:, 0]).sum()
    if LEVELS[level] == "gmask":
        assert spans[-1, 1] == len(entity)
        assert blanked >= 0.5 * len(entity)
    if LEVELS[level] == "smask":
        sentences = set(sentence_edges(ends).tolist())
        assert all(int(x) in sentences for x in spans.flatten())


@given(st.integers(20, 60), st.integers(0, 99))
def test_enough_is_blanked_and_not_much_more(n: int, seed: int):
    spans = sample_spans(np.arange(n + 1), np.random.default_rng(seed), 0.15, 3.0)
    blanked = int((spans[:, 1] - spans[:, 0]).sum())
    last = max(int(b - a) for a, b in spans)
    assert 0.15 * n <= blanked < 0.15 * n + last


def test_lengths_are_poisson_without_zero():
    rng = np.random.default_rng(0)
    edges = np.arange(2001)
    lengths = np.concatenate([np.diff(sample_spans(edges, rng, 0.15, 3.0), axis=1).flatten() for _ in range(40)])
    assert lengths.min() == 1
    assert lengths.mean() == pytest.approx(3 / (1 - np.exp(-3)), abs=0.1)
    share = 3 * np.exp(-3) / (1 - np.exp(-3))
    assert (lengths == 1).mean() == pytest.approx(share, abs=0.02)


def test_the_tail_is_uniform_and_rounded_to_the_nearest_edge():
    rng = np.random.default_rng(0)
    edges = unit_edges(np.repeat([1, 2, 3, 4, 5], [10, 30, 10, 40, 10]))  # 0 10 40 50 90 100
    begins = np.array([sample_tail(edges, rng, (0.5, 1.0))[0, 0] for _ in range(4000)])
    # The wanted beginning is uniform in 0 … 50: nearest to 0 up to 5, to 10 up to 25, to 40 up to 45, else to 50.
    assert set(begins.tolist()) == {0, 10, 40, 50}
    for edge, share in ((0, 0.1), (10, 0.4), (40, 0.4), (50, 0.1)):
        assert (begins == edge).mean() == pytest.approx(share, abs=0.03)
    assert sample_tail(np.array([0, 90, 100]), rng, (0.5, 0.5)).tolist() == [[0, 100]], "half must stay blanked"


def test_levels_are_mixed_as_asked():
    rng = np.random.default_rng(0)
    entity, ends = np.zeros(30, int), np.arange(30) % 5 == 4
    drawn = np.bincount([sample_blanks(entity, ends, rng, MaskConfig())[1] for _ in range(4000)], minlength=3) / 4000
    np.testing.assert_allclose(drawn, [0.4, 0.3, 0.3], atol=0.03)


def test_plain_glm_splits_entities():
    rng = np.random.default_rng(0)
    entity, ends = np.repeat([1, 2], 20), np.zeros(40, bool)
    config = MaskConfig(levels=(1, 0, 0), units=False)
    spans = np.concatenate([sample_blanks(entity, ends, rng, config)[0] for _ in range(20)])
    assert not set(spans.flatten().tolist()) <= {0, 20, 40}


def test_shares_must_be_shares():
    with pytest.raises(ConfigError, match="must sum to 1"):
        MaskConfig.parse({"levels": (0.4, 0.4, 0.4)}, "masks")
    with pytest.raises(ConfigError, match="a smaller and a larger"):
        MaskConfig.parse({"tail": (0.9, 0.5)}, "masks")
