"""The text baselines of Zhang et al., COLING 2025: one vector of a text about the user beside every item.

* BERT-aug: the text is the history itself (the titles, as an encoder reads them).
* LLM-aug ("Llama2-Chat-aug"): the text is the preference that a language model wrote from the history. The same run is
  their ablation "w/o Retr".

Both are this class; only the texts differ. The vector is the same for all candidates, so a backbone can use it only
together with what it knows of the items. Deviation: where a text has several vectors (one a sentence), their mean is
taken; a user without any text has a learned vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from seqlore.config import Config
from seqlore.errors import ConfigError
from seqlore.rerank.augment import Augmentation, Augmented
from seqlore.rerank.lists import ListBatch, ListData
from seqlore.rerank.texts import UserTexts


class TextAugmentationConfig(Config):
    """Settings of TextAugmentation."""

    width: int = Field(default=64, ge=1, description="Width a of the vectors that are concatenated.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout on the text vector.")


class TextAugmentation(Augmentation):
    """A learned map of the text vector, concatenated to every item of the sample."""

    paper = "a baseline of Zhang et al., COLING 2025"
    Config: ClassVar[type[Config]] = TextAugmentationConfig

    def __init__(self, config: Config | None = None, /, texts: UserTexts | None = None, **settings: Any) -> None:
        super().__init__(config, **settings)
        self.texts = texts

    @property
    def width(self) -> int:
        return self.config.width

    def gather(self, lists: ListData) -> None:
        if self.texts is None:
            raise ConfigError("TextAugmentation has no texts: build it as TextAugmentation(texts=UserTexts(…))")

    def build(self, size: int, item_width: int) -> None:
        assert self.texts is not None
        self.absent = nn.Parameter(torch.zeros(self.texts.width))
        self.adapter = nn.Sequential(
            nn.LayerNorm(self.texts.width), nn.Dropout(self.config.dropout), nn.Linear(self.texts.width, self.width)
        )

    def untold(self, users: Tensor, known: Tensor) -> Tensor | None:
        return None if self.texts is None else self.texts.untold(users, known)

    def forward(self, batch: ListBatch, items: Callable[[Tensor], Tensor], history: bool) -> Augmented:
        assert self.texts is not None
        vectors, there = self.texts(batch.users, batch.known)  # [B, S, d], [B, S]
        count = there.sum(1, keepdim=True)
        mean = (vectors * there[..., None]).sum(1) / count.clamp_min(1)
        extra = self.adapter(torch.where(count > 0, mean, self.absent))[:, None]  # [B, 1, a]
        wide = extra.expand(-1, batch.candidates.shape[1], -1)
        return Augmented(wide, extra.expand(-1, batch.items.shape[1], -1) if history else None)

    @classmethod
    def rebuilt(cls, config: Config, state: Mapping[str, Tensor]) -> Self:
        return cls(config, texts=UserTexts.rebuilt(state, "texts."))
