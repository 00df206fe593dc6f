from __future__ import annotations

import numpy as np
import pytest

from seqlore.errors import ConfigError
from seqlore.text.nullspace import null_space


def meaningful(n: int = 400) -> np.ndarray:
    """12 dimensions, turned at random, of which 3 carry the meaning and 9 a little noise."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    return ((rng.normal(size=(n, 12)) * ([3.0, 2.0, 1.0] + [0.01] * 9)) @ turn + 2).astype(np.float32)


def test_frozen_part_is_standardised_and_widest_first() -> None:
    vectors = meaningful()
    frozen, free = null_space(vectors, 6, 0.5)
    assert frozen.shape == (400, 6)
    assert frozen.dtype == np.float32
    assert free == slice(3, 6)
    np.testing.assert_allclose(np.cov(frozen, rowvar=False), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(frozen.mean(axis=0), 0, atol=1e-4)
    # The three directions that text keeps for itself explain the vectors all but completely; those for ids nothing.
    centred = vectors - vectors.mean(axis=0)

    def unexplained(part: np.ndarray) -> float:
        return 1 - np.square(part @ np.linalg.lstsq(part, centred)[0]).sum() / np.square(centred).sum()

    assert unexplained(frozen[:, :3]) < 1e-3
    assert unexplained(frozen[:, free]) > 0.99


@pytest.mark.parametrize(
    ("width", "share", "free"), [(8, 0.25, slice(6, 8)), (8, 0.75, slice(2, 8)), (3, 0.4, slice(2, 3))]
)
def test_share_of_dimensions_for_ids(width: int, share: float, free: slice) -> None:
    assert null_space(meaningful(), width, share)[1] == free


def test_item_without_text_is_frozen_at_the_mean() -> None:
    vectors = meaningful()
    vectors[7] = 0
    frozen, _ = null_space(vectors, 6)
    assert not frozen[7].any()
    np.testing.assert_array_equal(np.delete(frozen, 7, 0), null_space(np.delete(vectors, 7, 0), 6)[0])


@pytest.mark.parametrize(("share", "who"), [(0.01, "ids"), (0.99, "text")])
def test_a_share_that_leaves_nothing(share: float, who: str) -> None:
    with pytest.raises(ConfigError, match=f"null_share={share} of 6 dimensions leaves none for {who}"):
        null_space(meaningful(), 6, share)


def test_a_table_wider_than_the_text() -> None:
    with pytest.raises(ConfigError, match="at most 12 principal components, not 13"):
        null_space(meaningful(), 13)
