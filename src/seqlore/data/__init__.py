"""Interactions and texts, from files to splits."""

from seqlore.data.catalog import Catalog, Vocabulary
from seqlore.data.dataset import Dataset
from seqlore.data.sequences import Cases, Sequences
from seqlore.data.splits import Split, leave_one_out, ratio, temporal_sessions
from seqlore.data.user_ratio import user_ratio

__all__ = [
    "Cases",
    "Catalog",
    "Dataset",
    "Sequences",
    "Split",
    "Vocabulary",
    "leave_one_out",
    "ratio",
    "temporal_sessions",
    "user_ratio",
]
