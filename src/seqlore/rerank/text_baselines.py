"""BERT-aug and LLM-aug of Zhang et al., COLING 2025, with their texts gathered: :class:`TextAugmentation` twice.

BERT-aug encodes the history as it stands, LLM-aug the preference that a language model wrote from it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from seqlore.config import Config
from seqlore.rerank.augment import Host
from seqlore.rerank.gathering import KnowledgeSettings, RawSettings, preference_vectors, with_suited
from seqlore.rerank.lists import ListData
from seqlore.rerank.points import text_points
from seqlore.rerank.text_augmentation import TextAugmentation, TextAugmentationConfig


class LLMAugConfig(TextAugmentationConfig):
    """Settings of LLMAug."""

    knowledge: KnowledgeSettings = Field(default_factory=KnowledgeSettings)


class LLMAug(TextAugmentation):
    """The encoded preference beside every item; also their ablation "w/o Retr"."""

    Config: ClassVar[type[Config]] = LLMAugConfig

    @classmethod
    def suited(cls, config: Any, host: Host) -> Any:
        return with_suited(config, host)

    def gather(self, lists: ListData) -> None:
        if self.texts is None:
            settings = self.config.knowledge
            self.texts, _ = preference_vectors(lists.split, text_points(lists, settings.every), settings)


class BERTAugConfig(TextAugmentationConfig):
    """Settings of BERTAug."""

    knowledge: RawSettings = Field(default_factory=RawSettings, description='With texts = "raw" by default.')


class BERTAug(LLMAug):
    """The encoded history beside every item."""

    Config: ClassVar[type[Config]] = BERTAugConfig
