"""Settings of :class:`seqlore.tasks.glm.TaskGLM`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from seqlore.glm.positions import PositionConfig
from seqlore.glm.pretrain import GLMPretrainConfig, checked_start
from seqlore.glm.spans import MaskConfig
from seqlore.glm.training import Average
from seqlore.glm.windows import WindowConfig
from seqlore.language.decoding import Normalise
from seqlore.lore.corpus import AnyCorpus
from seqlore.tasks.mixing import MixtureConfig
from seqlore.training import TrainConfig


class TaskGLMConfig(TrainConfig):
    """Settings of the tuning."""

    base_model: str | None = Field(
        default=None, description="Folder of a GLM or another causal model; None = a GLM of the data's own."
    )
    any_corpus: AnyCorpus = False
    pretraining: GLMPretrainConfig = Field(
        default_factory=lambda: GLMPretrainConfig.parse({}, "pretraining"), description="Of that one."
    )
    start: Literal["pretrained", "random"] = Field(default="pretrained", description="Random: the ablation.")
    mixture: MixtureConfig = Field(default_factory=MixtureConfig, description="Of families.")
    masked: float = Field(
        default=0.2, ge=0, lt=1, description="Share of texts that are masked histories; 0 = questions alone."
    )
    rolling: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of texts that are histories of which a whole tail is asked for, title by title in one pass.",
    )
    masks: MaskConfig = Field(default_factory=MaskConfig, description="What of a history is blanked.")
    windows: WindowConfig = Field(
        default_factory=WindowConfig,
        description="Long-, medium- and short-term windows of histories without a question.",
    )
    title_words: Annotated[int, Field(ge=1)] | Literal["distinct"] | None = Field(
        default=8, description="Words of a title; None = all; 'distinct' = as few as tell it from others."
    )
    number_tokens: bool | None = Field(
        default=None,
        description="A token for each number that prompts tell of stars, in place of its digits; None = in a body of "
        "the data's own, since a base model has learned to read digits.",
    )
    positions: PositionConfig = Field(default_factory=PositionConfig, description="Rule of the position ids.")
    tune: Literal["full", "lora"] = Field(default="full", description="What learns.")
    lora_rank: int = Field(default=8, ge=1, description="Rank of the adapter.")
    average: Average = Field(
        default="tokens",
        description="What the loss is a mean of: target tokens, as GLM's; texts, each by its own mean, as P5's, so "
        "that stars weigh as much as a tail of titles.",
    )
    batch_tokens: int = Field(default=4096, ge=16, description="Padded tokens of a step.")
    decoding: Literal["beam", "exact"] = Field(
        default="beam",
        description="How the catalogue is searched: with beams, or by the exact likelihood of every title.",
    )
    beams: int = Field(default=40, ge=1, description="Open prefixes of a search.")
    normalise: Normalise = Field(
        default="children",
        description="What a title's token is a share of, in training and search: what may follow there, or all tokens.",
    )
    answer_tokens: int = Field(default=60, ge=1, description="Most tokens of a text that is written.")
    valid_cases: int = Field(
        default=2000,
        ge=1,
        description="At most so many validation pairs of each family, drawn; of 200 ratings, a token each, the mean "
        "has a standard error of 0.03, more than an epoch changes.",
    )
    learning_rate: float = Field(default=2e-3, gt=0, description="Peak learning rate of AdamW; 1e-5 in the paper.")
    schedule: Literal["constant", "cosine"] = Field(default="cosine", description="After the warm-up.")
    clip_norm: float | None = Field(default=1.0, gt=0, description="Largest gradient norm; None = no clipping.")
    epochs: int = Field(default=8, ge=1, description="Most epochs (paper: 8).")
    patience: int = Field(default=2, ge=1, description="Validations without improvement.")
    monitor: Literal["log_likelihood"] = Field(default="log_likelihood", description="Of answers, a token.")  # type: ignore[assignment]

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.masked + self.rolling >= 1:
            raise ValueError(f"masked = {self.masked} and rolling = {self.rolling} leave no share for questions")
        return checked_start(self)
