"""The protocol, its metrics, and what may be concluded from them."""

from seqlore.evaluation.candidates import SampledCases, sample_candidates
from seqlore.evaluation.protocol import evaluate
from seqlore.evaluation.report import Report, parse_metric

__all__ = ["Report", "SampledCases", "evaluate", "parse_metric", "sample_candidates"]
