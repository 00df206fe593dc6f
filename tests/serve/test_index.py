"""The index: what it finds, what it tells of itself, and that lists through it keep the promises of all lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import seqlore as sl
from seqlore.data import Sequences, Split
from seqlore.serve import index
from seqlore.serve.index import build_index, recall_of
from seqlore.serve.served import Served
from seqlore.serve.settings import ServeSettings


def test_recall_by_hand() -> None:
    found = np.array([[1, 2, 3, 4], [5, 6, -1, -1]])
    exact = np.array([[4, 3, 2, 9], [5, 6, 7, 8]])
    assert recall_of(found, exact) == pytest.approx((0.75 + 0.5) / 2)


def test_what_the_index_finds_is_scored_exactly_and_what_it_promises_is_true() -> None:
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(30, 8, generator=rng)
    vectors = centres.repeat(100, 1) + 0.2 * torch.randn(3000, 8, generator=rng)
    vectors[[0, 17]] = 0
    queries = centres.repeat(2, 1) + 0.2 * torch.randn(60, 8, generator=rng)
    made = build_index(vectors, queries, recall=0.9)
    assert made is not None
    items, scores = made.search(queries.numpy(), 20)
    np.testing.assert_allclose(
        scores, np.take_along_axis((queries @ vectors.T).numpy(), items, 1), rtol=1e-5, atol=1e-5
    )
    assert (np.diff(scores, axis=1) <= 0).all()
    assert not np.isin(items, [0, 17]).any(), "neither padding nor an item without a vector"
    exact = (queries @ vectors.T).index_fill(1, torch.tensor([0, 17]), -torch.inf).topk(20).indices.numpy()
    assert recall_of(items, exact) == pytest.approx(made.recall)
    assert made.recall >= 0.9


def test_an_index_that_cannot_reach_the_recall_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(0)
    vectors, queries = torch.randn(2000, 64, generator=rng), torch.randn(32, 64, generator=rng)
    monkeypatch.setattr(index, "DEPTHS", (1,))
    assert build_index(vectors, queries, recall=1.0) is None, "4 bits for two dimensions do not tell noise apart"
    monkeypatch.setattr(index, "DEPTHS", (1, 100))
    found = build_index(vectors, queries, recall=1.0)
    assert found is not None
    assert (found.depth, found.recall) == (100, 1.0), "with 2,000 candidates all are scored exactly"


def test_a_list_longer_than_the_index_is_short() -> None:
    vectors = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    vectors[20:] = 0
    found = build_index(vectors, vectors[1:4], recall=0.5)
    assert found is not None
    items, scores = found.search(vectors[1:3].numpy(), 30)
    assert items.shape == scores.shape == (2, 30)
    assert (items[:, 19:] == 0).all()
    assert (scores[:, 19:] == -np.inf).all()
    assert sorted(items[0, :19]) == list(range(1, 20))


def test_lists_through_the_index(run_folder: Path, split: Split) -> None:
    model = sl.load(run_folder / "models" / "SASRec--file--0")
    exact = Served("m", model, "", ServeSettings())
    served = Served("m", model, "", ServeSettings(index_from=1, index_recall=0.1))
    assert exact.index is None
    assert served.index is not None
    histories = Sequences.from_lists([[1, 2, 3], [4], [5, 6]])
    for exclude_seen in (True, False):
        a, b = (each.rank(histories, 10, exclude_seen) for each in (exact, served))
        for row, history in enumerate(histories):
            kept = b.items[row][b.items[row] > 0]
            if exclude_seen:
                assert not np.isin(kept, history).any()
            assert len(set(kept.tolist())) == len(kept)
            # What both list has one score.
            for item in set(kept.tolist()) & set(a.items[row].tolist()):
                scores = [each.scores[row][each.items[row] == item].item() for each in (a, b)]
                assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    empty = Sequences.from_lists([[], [1]])
    np.testing.assert_array_equal(served.rank(empty, 5).items, exact.rank(empty, 5).items)
    few = np.array([3, 4, 9], np.int32)
    np.testing.assert_array_equal(served.rank(histories, 5, True, few).items, exact.rank(histories, 5, True, few).items)
