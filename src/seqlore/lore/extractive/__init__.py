"""The extractive model: answers from facts by counting, where no language model is at hand."""

from seqlore.lore.extractive.background import Background
from seqlore.lore.extractive.model import ExtractiveModel

__all__ = ["Background", "ExtractiveModel"]
