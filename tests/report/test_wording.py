from __future__ import annotations

import math

import pytest

from seqlore.report.wording import count, duration, memory, metric_title, number, p_value, percent, plain, share, signed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (metric_title("ndcg@10"), "NDCG@10"),
        (metric_title("tied_targets"), "tied targets"),
        (number(0.05, "ndcg@10"), "0.0500"),
        (number(13.8194, "novelty@20"), "13.819"),
        (number(-0.01234, "hr@10"), "−0.0123"),
        (number(None), "–"),
        (number(math.nan), "–"),
        (signed(0.01, "hr@10"), "+0.0100"),
        (signed(-0.01, "hr@10"), "−0.0100"),
        (signed(None), "–"),
        (percent(-0.394), "−39.4 %"),
        (share(0.0312), "3.1 %"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.0244), "0.024"),
        (duration(0.01), "< 0.1 s"),
        (duration(1.26), "1.3 s"),
        (duration(119.0), "119 s"),
        (duration(812.4), "13.5 min"),
        (duration(9000), "2.5 h"),
        (memory(610.2), "610 MB"),
        (memory(1240.0), "1.24 GB"),
        (count(22363), "22,363"),
        (count(None), "–"),
        (plain(True), "yes"),
        (plain(12101), "12,101"),
        (plain(64), "64"),
        (plain(0.000734), "0.000734"),
        (plain({"a": 1, "b": [2, 3]}), "a = 1, b = 2, 3"),
    ],
)
def test_wording(text: str, expected: str) -> None:
    assert text == expected
