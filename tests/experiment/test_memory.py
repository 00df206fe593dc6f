"""What a fit is said to need does not depend on what was fitted before it."""

from __future__ import annotations

import numpy as np

from seqlore.experiment.trial import PeakMemory


def needed(megabytes: int) -> float:
    with PeakMemory() as memory:
        np.ones(megabytes * 2**20 // 8).sum()
    return memory.mb


def test_a_small_fit_after_a_large_one_is_small() -> None:
    needed(1)
    left_behind = np.ones(200 * 2**20 // 8)  # by an earlier model
    large, small = needed(300), needed(1)
    assert left_behind.all()
    assert large - small > 200
    with PeakMemory() as empty:
        pass
    assert abs(small - empty.mb) < 50
    assert empty.gpu_mb is None or empty.gpu_mb >= 0
