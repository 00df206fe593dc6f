"""Parts A and B: the paper's figure, and that nothing is lost."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqlore.glm.blanks import Blanked, Documents, Spans, blank
from seqlore.glm.marks import LEVELS, Marks
from seqlore.glm.model import blank_sight
from seqlore.glm.positions import Automaton, PositionConfig, entity_trie
from seqlore.glm.spans import MaskConfig, sample_blanks

MARKS = Marks(pad=0, start=100, end=101, mask=102, smask=103, gmask=104, cls=105)
M, S, E, C = 102, 100, 101, 105


def made(rows: list[tuple[list[int], list[int]]]) -> Documents:
    """From (tokens, entity of each) of every document."""
    tokens = np.array([t for row in rows for t in row[0]], np.int32)
    entity = np.array([e for row in rows for e in row[1]], np.int32)
    return Documents(
        tokens, np.r_[0, np.cumsum([len(row[0]) for row in rows])].astype(np.int64), entity, np.zeros(len(tokens), bool)
    )


def spans(*rows: tuple[int, int, int, int]) -> Spans:
    return Spans(*np.array(rows, np.int64).reshape(-1, 4).T)


def automaton(**settings: str) -> Automaton:
    return Automaton(entity_trie([[1, 2, 3], [6, 7]], 106), S, PositionConfig(**settings))  # type: ignore[arg-type]


@pytest.fixture
def figure() -> Documents:
    return made([([1, 2, 3, 4, 5, 6, 7], [1, 1, 1, 0, 0, 2, 2])])


def test_figure_1(figure: Documents):
    out = blank(figure, spans((0, 0, 3, 0), (0, 4, 5, 0)), MARKS, automaton())
    batch = out.batch(np.array([0]))
    assert out.a.items.tolist() == [C, M, 4, M, 6, 7]
    assert batch.inter[0, 1:6].tolist() == [1, 2, 3, 4, 5]
    assert out.a_intra.tolist() == [0, 0, 0, 0, 1, 2]
    assert out.b.items.tolist() == [S, 1, 2, 3, S, 5]
    assert out.b_inter.tolist() == [1, 1, 1, 1, 3, 3]
    assert out.b_intra.tolist() == [1, 2, 3, 4, 1, 2]
    assert out.targets.tolist() == [1, 2, 3, E, 5, E]
    assert batch.context.tolist() == [6]
    assert batch.at.tolist() == [6, 7, 8, 9, 10, 11]


def test_plain_glm_counts_within_blanks(figure: Documents):
    out = blank(figure, spans((0, 1, 5, 0)), MARKS, automaton(intra="blank"))
    assert out.a.items.tolist() == [C, 1, M, 6, 7]
    assert out.a_intra.tolist() == [0] * 5
    assert out.b_intra.tolist() == [1, 2, 3, 4, 5]


def test_an_empty_blank_asks_and_levels_have_their_masks(figure: Documents):
    out = blank(figure, spans((0, 3, 3, 1), (0, 7, 7, 2)), MARKS, automaton())
    assert out.a.items.tolist() == [C, 1, 2, 3, 103, 4, 5, 6, 7, 104]
    assert (out.b.items.tolist(), out.b_inter.tolist(), out.targets.tolist()) == ([S, S], [4, 9], [E, E])


def test_rows_stand_side_by_side_and_see_only_themselves():
    documents = made([([4, 5], [0, 0]), ([], []), ([1, 2, 3, 1, 2, 3], [1, 1, 1, 1, 1, 1])])
    out = blank(documents, spans((0, 1, 2, 0), (2, 3, 6, 0)), MARKS, automaton())
    batch = out.batch(np.array([2, 0, 1]))
    assert batch.ids.tolist() == [[C, 1, 2, 3, M, S, 1, 2, 3], [C, 4, M, S, 5, 0, 0, 0, 0], [C, *[0] * 8]]
    assert batch.intra[0, :5].tolist() == [0, 1, 2, 3, 0]
    assert batch.context.tolist() == [5, 3, 1]
    assert batch.at.tolist() == [5, 6, 7, 8, 12, 13]
    assert batch.targets.tolist() == [1, 2, 3, E, 5, E]
    sight = blank_sight(batch.context, 9)
    assert sight[1].int().tolist()[2] == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert sight[1].int().tolist()[4] == [1, 1, 1, 1, 1, 0, 0, 0, 0]


def test_entities_of_neighbouring_documents_are_counted_apart():
    out = blank(made([([6, 7], [1, 1]), ([6, 7], [1, 1])]), spans(), MARKS, automaton())
    assert out.a_intra.tolist() == [0, 1, 2, 0, 1, 2]


def test_random_order_keeps_blanks_whole_and_documents_apart(figure: Documents):
    two = made([([1, 2, 3, 4, 5, 6, 7], [1, 1, 1, 0, 0, 2, 2])] * 2)
    where = spans((0, 0, 3, 0), (0, 4, 5, 0), (1, 0, 3, 0), (1, 5, 7, 0))
    seen = set()
    for seed in range(20):
        out = blank(two, where, MARKS, automaton(), np.random.default_rng(seed))
        first, second = (tuple(row.tolist()) for row in out.b)
        assert first in {(S, 1, 2, 3, S, 5), (S, 5, S, 1, 2, 3)}
        assert second in {(S, 1, 2, 3, S, 6, 7), (S, 6, 7, S, 1, 2, 3)}
        assert out.b_inter[: len(first)].tolist() == ([1, 1, 1, 1, 3, 3] if first[1] == 1 else [3, 3, 1, 1, 1, 1])
        seen.add((first, second))
    assert len(seen) == 4


def put_together(out: Blanked) -> list[list[int]]:
    """Documents again: contents in place of masks, by their inter ids alone."""
    found = []
    for i in range(len(out)):
        cut = slice(out.b.offsets[i], out.b.offsets[i + 1])
        contents: dict[int, list[int]] = {}
        for token, inter in zip(out.targets[cut].tolist(), out.b_inter[cut].tolist(), strict=True):
            contents.setdefault(inter, []).append(token)
        text = []
        for place, token in enumerate(out.a[i].tolist()):
            text += contents[place][:-1] if token in (102, 103, 104) else [token]
        found.append(text[1:])
    return found


rows = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.lists(st.integers(1, 90), min_size=1, max_size=4)), max_size=8), max_size=5
)


@given(rows, st.integers(0, 99), st.booleans())
def test_nothing_is_lost(drawn, seed: int, chronological: bool):
    documents = made(
        [
            (
                [t for _, tokens in units for t in tokens],
                [i if kind > 1 else 0 for i, (kind, tokens) in enumerate(units, start=1) for _ in tokens],
            )
            for units in drawn
        ]
    )
    rng = np.random.default_rng(seed)
    cut = documents.offsets
    where = Spans.collect(
        sample_blanks(documents.entity[a:b], documents.ends[a:b], rng, MaskConfig()) for a, b in pairwise(cut)
    )
    out = blank(documents, where, MARKS, automaton(), None if chronological else rng)
    assert put_together(out) == [documents.tokens[a:b].tolist() for a, b in pairwise(cut)]
    assert (out.targets == E).sum() == len(where.document) == (out.b.items == S).sum()
    if chronological and len(out.targets):
        same = np.diff(np.repeat(np.arange(len(out)), out.b.lengths)) == 0
        assert (np.diff(out.b_inter)[same] >= 0).all()


def test_documents_are_cut_before_an_entity_that_would_be_split():
    documents = made([([1, 2, 3, 4, 5], [0, 1, 1, 2, 2]), ([1, 2, 3], [1, 1, 1]), ([9], [0])])
    assert [documents.cut(n).lengths.tolist() for n in (5, 4, 3, 2, 1)] == [
        [5, 3, 1],
        [3, 3, 1],
        [3, 3, 1],
        [1, 0, 1],
        [1, 0, 1],
    ]
    assert documents.take([2, 0]).tokens.tolist() == [9, 1, 2, 3, 4, 5]


def test_levels_are_in_the_order_of_the_shares():
    assert LEVELS == ("mask", "smask", "gmask")
    assert torch.is_tensor(blank(made([]), spans(), MARKS, automaton()).batch(np.zeros(0, int)).ids)
