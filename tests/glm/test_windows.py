"""Windows in time, with fallbacks in counts."""

from __future__ import annotations

import numpy as np
import pytest

from seqlore.data import Sequences
from seqlore.errors import ConfigError
from seqlore.glm.windows import DAY, WindowConfig, draw_terms, drawn_ends, windowed

CONFIG = WindowConfig(days=(90, 7), least=(3, 2))
LONG, MEDIUM, SHORT = 0, 1, 2


def timed(days: list[float], **more) -> Sequences:
    made = Sequences.from_lists([list(range(1, len(days) + 1))])
    return Sequences(made.items, made.offsets, timestamps=(np.array(days) * DAY).astype(np.int64), **more)


def cut(sequences: Sequences, term: int) -> list[int]:
    return windowed(sequences, np.full(len(sequences), term), CONFIG).items.tolist()


def test_windows_reach_back_in_time_from_the_latest_event():
    one = timed([0, 300, 320, 394, 395, 396, 400])
    assert cut(one, LONG) == [1, 2, 3, 4, 5, 6, 7]
    assert cut(one, MEDIUM) == [3, 4, 5, 6, 7]  # day 310 and later
    assert cut(one, SHORT) == [4, 5, 6, 7]  # day 393 and later


def test_too_few_recent_events_or_no_times_fall_back_on_counts():
    sparse = timed([0, 100, 200, 300])
    assert cut(sparse, MEDIUM) == [2, 3, 4]
    assert cut(sparse, SHORT) == [3, 4]
    untimed = Sequences.from_lists([[1, 2, 3, 4], [5], []])
    assert [row.tolist() for row in windowed(untimed, np.array([2, 1, 0]), CONFIG)] == [[3, 4], [5], []]


def test_one_day_is_one_window():
    assert cut(timed([0, 9, 9, 9, 9]), SHORT) == [2, 3, 4, 5]


def test_terms_are_drawn_in_their_shares():
    drawn = np.bincount(draw_terms(20_000, np.random.default_rng(0), WindowConfig()), minlength=3) / 20_000
    np.testing.assert_allclose(drawn, [0.1, 0.3, 0.6], atol=0.01)
    assert set(draw_terms(50, np.random.default_rng(0), WindowConfig(shares=(1, 0, 0))).tolist()) == {LONG}
    with pytest.raises(ConfigError, match="must sum to 1"):
        WindowConfig.parse({"shares": (1, 1, 1)}, "windows")


def test_a_shorter_window_may_end_at_any_event():
    many = Sequences.from_lists([[1, 2, 3, 4, 5]] * 300 + [[1]])
    rng = np.random.default_rng(0)
    terms = np.r_[np.full(200, SHORT), np.full(100, LONG), SHORT]
    ended = drawn_ends(many, terms, rng, WindowConfig())
    assert set(ended.lengths[:200].tolist()) == {2, 3, 4, 5}
    assert set(ended.lengths[200:300].tolist()) == {5}
    assert ended[300].tolist() == [1]
    assert drawn_ends(many, terms, rng, WindowConfig(ends="latest")).lengths.tolist() == many.lengths.tolist()
