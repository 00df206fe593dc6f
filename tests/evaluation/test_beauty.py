"""Published figures of MostPopular on the real Beauty set: data, splits, ranking and metrics agree with others'."""

from __future__ import annotations

import pytest

from seqlore.data import Dataset, leave_one_out, temporal_sessions
from seqlore.data.splits import Ties
from seqlore.evaluation import evaluate
from seqlore.models.popular import MostPopular

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(("ties", "hr", "ndcg"), [("file", 0.0114, 0.0054), ("shuffled", 0.0165, 0.0083)])
def test_most_popular_leave_one_out(beauty: Dataset, ties: Ties, hr: float, ndcg: float) -> None:
    split = leave_one_out(beauty, ties=ties)
    report = evaluate(MostPopular().fit(split), split, at=(10,))
    assert report.metrics["cases"] == 22_363
    assert round(report.metrics["hr@10"], 4) == hr
    assert round(report.metrics["ndcg@10"], 4) == ndcg


def test_most_popular_on_temporal_sessions_as_harte_et_al_count(beauty: Dataset) -> None:
    split = temporal_sessions(beauty).with_validation()
    assert (split.counts() > 0).sum() == 11_957
    report = evaluate(MostPopular().fit(split), split, at=(10, 20), exclude_seen=False, novelty_counts="all")
    assert report.metrics["cases"] == 4_469
    # Table 2 of the paper: novelty 9.187 and 9.408, coverage and serendipity 0.001 and 0.002, 0.001 and 0.001.
    assert round(report.metrics["novelty@10"], 3) == 9.187
    assert round(report.metrics["novelty@20"], 3) == 9.408
    assert [round(report.metrics[f"coverage@{k}"], 3) for k in (10, 20)] == [0.001, 0.002]
    assert [round(report.metrics[f"serendipity@{k}"], 3) for k in (10, 20)] == [0.001, 0.001]
