"""Tuning: which settings of a model do best on validation folds, found by TPE; the test part is never touched."""

from seqlore.tuning.settings import Search
from seqlore.tuning.space import Choices, Range, Space, space_for
from seqlore.tuning.study import TuneResult, tune

__all__ = ["Choices", "Range", "Search", "Space", "TuneResult", "space_for", "tune"]
