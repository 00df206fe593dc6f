from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from seqlore.errors import ConfigError, DataError
from seqlore.text import reduce as module
from seqlore.text.reduce import Method, reduce

METHODS = get_args(Method)


def sample(n: int = 300, d: int = 24, seed: int = 0) -> np.ndarray:
    """Correlated vectors, far from the origin."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5).astype(np.float32)


def test_pca_by_hand() -> None:
    # Mean (1, 2, 0); along (3, 4, 0)/5 the rows lie at −10, 0, 10, along (4, −3, 0)/5 at 1, −2, 1.
    along, across = np.array([3, 4, 0]) / 5, np.array([4, -3, 0]) / 5
    rows = np.array([1, 2, 0]) + np.outer([-10, 0, 10], along) + np.outer([1, -2, 1], across)
    reduced = reduce(rows.astype(np.float32), 2)
    np.testing.assert_allclose(reduced, [[-10, 1], [0, -2], [10, 1]], atol=1e-5)


def test_whitening_by_hand() -> None:
    along, across = np.array([3, 4, 0]) / 5, np.array([4, -3, 0]) / 5
    rows = np.outer([-10, 0, 10], along) + np.outer([1, -2, 1], across)
    # Sample variances: 200 / 2 = 100, and 6 / 2 = 3.
    reduced = reduce((rows + 7).astype(np.float32), 2, "whiten")
    np.testing.assert_allclose(reduced, [[-1, 1 / 3**0.5], [0, -2 / 3**0.5], [1, 1 / 3**0.5]], atol=1e-5)


def test_pca_keeps_all_distances_at_full_width() -> None:
    vectors = sample()
    reduced = reduce(vectors, 24)
    before = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    after = np.linalg.norm(reduced[:, None] - reduced[None], axis=2)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-3)


def test_whitened_components_are_uncorrelated_with_unit_variance() -> None:
    np.testing.assert_allclose(np.cov(reduce(sample(), 10, "whiten"), rowvar=False), np.eye(10), atol=1e-4)


def test_random_projection_keeps_distances_roughly() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 400)).astype(np.float32)
    reduced = reduce(vectors, 200, "random")
    pairs = np.triu_indices(50, 1)
    before = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)[pairs]
    after = np.linalg.norm(reduced[:, None] - reduced[None], axis=2)[pairs]
    assert 0.75 < (after / before).min() < (after / before).max() < 1.25
    assert abs((after / before).mean() - 1) < 0.05


def explained(code: np.ndarray, vectors: np.ndarray) -> float:
    """Share of the vectors' variance that a linear map of the code gives back."""
    centred = vectors - vectors.mean(axis=0)
    back = code @ np.linalg.lstsq(code, centred)[0]
    return float(np.square(back).sum() / np.square(centred).sum())


def test_autoencoder_keeps_what_matters() -> None:
    """Three wide directions among 24: principal components find them, a random projection mixes the rest in."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    vectors = ((rng.normal(size=(600, 24)) * ([3.0] * 3 + [0.5] * 21)) @ turn).astype(np.float32)
    learned, best, blind = (explained(reduce(vectors, 3, m), vectors) for m in ("autoencoder", "pca", "random"))
    assert blind < 0.6 < 0.7 < learned < best + 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_result_and_nobodys_random_numbers_move(method: Method) -> None:
    vectors, before = sample(), torch.random.get_rng_state()
    first = reduce(vectors, 6, method, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(reduce(vectors, 6, method, seed=3), first)
    assert first.shape == (300, 6)
    assert first.dtype == np.float32
    if method in ("random", "autoencoder"):
        assert np.abs(reduce(vectors, 6, method, seed=4) - first).max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_items_without_text_have_no_part_and_stay_at_the_mean(method: Method) -> None:
    vectors = sample()
    known = np.ones(330, bool)
    known[::11] = False
    padded = np.zeros((330, 24), np.float32)
    padded[known] = vectors
    reduced = reduce(padded, 6, method)
    np.testing.assert_array_equal(reduced[known], reduce(vectors, 6, method))
    assert not reduced[~known].any()
    np.testing.assert_allclose(reduced[known].mean(axis=0), 0, atol=1e-3)


def test_signs_do_not_depend_on_the_order_of_rows() -> None:
    vectors, order = sample(), np.random.default_rng(1).permutation(300)
    np.testing.assert_allclose(reduce(vectors[order], 6), reduce(vectors, 6)[order], atol=1e-3)


def test_very_many_rows_are_fitted_on_a_sample_and_transformed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(1000, 8)) * [9, 7, 5, 1, 1, 1, 1, 1]).astype(np.float32)
    full = reduce(vectors, 3)
    monkeypatch.setattr(module, "FIT_NUMBERS", 8 * 300)
    sampled = reduce(vectors, 3)
    assert sampled.shape == (1000, 3)
    np.testing.assert_array_equal(sampled, reduce(vectors, 3))
    assert np.abs(np.diag(np.corrcoef(full.T, sampled.T)[:3, 3:])).min() > 0.98


def test_fewer_items_than_dimensions() -> None:
    vectors = sample(n=10, d=24)
    np.testing.assert_allclose(
        np.linalg.norm(reduce(vectors, 9), axis=1), np.linalg.norm(vectors - vectors.mean(0), axis=1), rtol=1e-4
    )


@pytest.mark.parametrize(("n", "width", "limit"), [(10, 10, 9), (300, 25, 24)])
@pytest.mark.parametrize("method", ["pca", "whiten"])
def test_more_components_than_there_are(n: int, width: int, limit: int, method: Method) -> None:
    with pytest.raises(ConfigError, match=f"{n} items with text in 24 dimensions have at most {limit} .*not {width}"):
        reduce(sample(n=n), width, method)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["random", "autoencoder"])
def test_other_methods_may_widen(method: Method) -> None:
    assert reduce(sample(n=10, d=4), 6, method).shape == (10, 6)


def test_components_that_do_not_vary_cannot_be_whitened() -> None:
    vectors = sample()
    vectors[:, 20:] = vectors[:, :4]
    with pytest.raises(ConfigError, match="only 20 of 24 components vary"):
        reduce(vectors, 24, "whiten")


@pytest.mark.parametrize("vectors", [np.zeros((5, 3), np.float32), np.ones((5, 3), np.float32)])
def test_nothing_to_tell_items_apart_by(vectors: np.ndarray) -> None:
    with pytest.raises(DataError, match="all the same"):
        reduce(vectors, 2)
