"""The protocol, its metrics, and what may be concluded from them."""

from seqlore.evaluation.buckets import buckets
from seqlore.evaluation.candidates import SampledCases, sample_candidates
from seqlore.evaluation.paired import holm, paired_test
from seqlore.evaluation.protocol import evaluate
from seqlore.evaluation.report import Report, parse_metric
from seqlore.evaluation.significance import (
    Comparison,
    Summary,
    compare,
    compare_all,
    comparison_table,
    summarise,
)

__all__ = [
    "Comparison",
    "Report",
    "SampledCases",
    "Summary",
    "buckets",
    "compare",
    "compare_all",
    "comparison_table",
    "evaluate",
    "holm",
    "paired_test",
    "parse_metric",
    "sample_candidates",
    "summarise",
]
