"""Paired tests of a mean difference, and the correction for several of them: pure functions of arrays.

* Percentile bootstrap: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
* Sign-flip permutation test: Smucker, Allan & Carterette, CIKM 2007 (10.1145/1321440.1321528). Monte Carlo p-values
  count the observed sample too (Phipson & Smyth, 2010, 10.2202/1544-6115.1585), so that none is ever 0.
* Holm's step-down correction: Scandinavian Journal of Statistics 6, 1979, 65-70.

Ranking metrics of one target take few distinct values, so equal differences are drawn together: a bootstrap sample of
cases is a multinomial draw of the counts of the distinct differences, and the number of flipped signs among m equal
ones is binomial. Both are exact, and many times as fast as drawing case by case, which is left for metrics like
novelty, where hardly two cases are equal. Either way the result depends on the differences and the seed, and not on
the order of the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError, DataError

Floats = NDArray[np.floating]

#: Random numbers in one block; bounds the memory and changes no result.
BLOCK = 1 << 21
#: Equal differences are drawn together where that makes at most this share of the draws.
GROUPED = 1 / 32


def paired_test(
    differences: Floats, *, samples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> tuple[tuple[float, float], float, float]:
    """Bootstrap interval of the mean, and two-sided p-values of the hypothesis that it is 0.

    Args:
        differences: [n], one a case. samples: draws of each test. seed: same seed, same result.

    Returns: (interval, p of the permutation test, p of the bootstrap).

    Raises: ConfigError: a setting out of range. DataError: no cases, or a difference that is not a number.
    """
    if samples < 1 or not 0 < confidence < 1:
        raise ConfigError(f"samples={samples}, confidence={confidence}: give 1 or more, and a share between 0 and 1")
    if not len(differences) or not np.isfinite(differences).all():
        raise DataError("a paired test needs at least one case, and a finite difference for each")
    flips, draws = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))

    means = _bootstrap_means(differences, samples, draws)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    fewer = min((means <= 0).sum(), (means >= 0).sum())
    p_bootstrap = min(1.0, 2 * (int(fewer) + 1) / (samples + 1))

    sums = _flipped_sums(differences, samples, flips)
    slack = 1e-9 * float(np.abs(differences).sum())  # equal sums may differ in rounding
    extreme = np.abs(sums) >= abs(float(differences.sum())) - slack
    return (float(low), float(high)), (int(extreme.sum()) + 1) / (samples + 1), p_bootstrap


def _bootstrap_means(differences: Floats, samples: int, rng: np.random.Generator) -> Floats:
    """float64 [samples], means of n cases drawn with replacement."""
    n = len(differences)
    values, counts = np.unique(differences, return_counts=True)
    if len(values) <= GROUPED * n:
        shares = counts / n
        return _in_blocks(lambda rows: rng.multinomial(n, shares, rows) @ values / n, samples, len(values))
    ordered = np.sort(differences)
    return _in_blocks(lambda rows: ordered[rng.integers(n, size=(rows, n))].sum(1) / n, samples, n)


def _flipped_sums(differences: Floats, samples: int, rng: np.random.Generator) -> Floats:
    """float64 [samples], sums of the differences with signs drawn at random. Zeros have no sign to draw."""
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    n = int(counts.sum())
    if not n:
        return np.zeros(samples)
    total = float(counts @ sizes)
    if len(sizes) <= GROUPED * n:
        width = len(sizes)
        return _in_blocks(lambda rows: total - 2 * (rng.binomial(counts, 0.5, (rows, width)) @ sizes), samples, width)
    each = np.repeat(sizes, counts)

    def block(rows: int) -> Floats:
        octets = rng.integers(256, size=(rows, -(-n // 8)), dtype=np.uint8)
        return total - 2 * (np.unpackbits(octets, axis=1, count=n) @ each)

    return _in_blocks(block, samples, n)


def _in_blocks(block: Callable[[int], Floats], samples: int, width: int) -> Floats:
    """float64 [samples] from ``block(rows)``, a few rows at a time."""
    rows = max(8, BLOCK // width) // 8 * 8  # whole words of random bits, so that blocks do not show in the draws
    return np.concatenate([block(min(rows, samples - start)) for start in range(0, samples, rows)])


def holm(p: Sequence[float]) -> Floats:
    """Holm-corrected p-values, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p_values = np.asarray(p, float)
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)))
    return corrected
