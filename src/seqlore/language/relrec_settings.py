"""Settings of ReLRec (Na et al., Findings of EMNLP 2024, 10.18653/v1/2024.findings-emnlp.423), and its prompts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from seqlore.language.frozen import FrozenConfig
from seqlore.language.label_rows import check_prompts
from seqlore.language.labels import Kind, LabelSource
from seqlore.language.projection import ProjectionConfig

ITEM_PROMPTS = (
    "Here is what is known about {id}.",
    "What buyers find in {id}, in a few words:",
    "A short portrait of {id} follows.",
    "Description of {id}:",
)
USER_PROMPTS = (
    "Here is what {id} is like as a customer.",
    "What {id} looks for, in a few words:",
    "A short portrait of {id} follows.",
    "Taste of {id}:",
)


#: Tokens that are written of a kind whose labels were not trained on.
UNTRAINED = 64


class ReLRecConfig(FrozenConfig):
    """Settings of ReLRec; the paper's arms are switches of these."""

    projection: ProjectionConfig = Field(
        default_factory=ProjectionConfig, description="From the tables of ids to the body."
    )
    labels: LabelSource = Field(default=LabelSource(), description="What is reconstructed.")
    alpha: float = Field(default=0.75, ge=0, description="Weight of the next item.")
    beta: float = Field(default=0.3, ge=0, description="Weight of the items' labels; 0 = not reconstructed.")
    gamma: float = Field(default=0.9, ge=0, description="Weight of the users' labels; 0 = not reconstructed.")
    users: Literal["own", "permuted", "none"] = Field(
        default="own",
        description="User token before the items; permuted = trained and validated so, but asked with another's (a "
        "control).",
    )
    user_dropout: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        exclude_if=lambda share: share is None,
        description="Share of training sequences with a user token, drawn anew, that begin with the stranger's instead "
        "(not in the paper); None = none.",
    )
    first_item: bool = Field(
        default=True, description="The first item of a sequence is predicted too, from the user token."
    )
    begin: bool = Field(
        default=True, description="The body's begin-of-text token stands before each row, where it has one."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the id vectors that go into the body.")
    negatives: int | None = Field(
        default=None,
        ge=1,
        exclude_if=lambda negatives: negatives is None,
        description="Items drawn in each batch that stand for the catalogue in the softmax (sampled softmax with logQ "
        "correction, by the root of counts); None = the whole catalogue, as published.",
    )
    label_tokens: int | None = Field(
        default=None,
        ge=2,
        description="Most tokens of a label; a longer one is cut and has no end; None = what the body reads.",
    )
    label_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of a batch's labels that are reconstructed, drawn anew each time."
    )
    label_epochs: int = Field(
        default=0,
        ge=0,
        description="So many first ones of the epochs learn labels alone, each id's once an epoch (not in the paper).",
    )
    names: Literal["this item", "iid", "keep"] = Field(
        default="this item", description="What becomes of item names in labels; see seqlore.language.label_rows."
    )
    item_prompts: tuple[str, ...] = Field(default=ITEM_PROMPTS, min_length=1, description="With {id} once in each.")
    user_prompts: tuple[str, ...] = Field(default=USER_PROMPTS, min_length=1, description="With {id} once in each.")

    @field_validator("item_prompts", "user_prompts")
    @classmethod
    def _a_prompt_holds_its_id(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        check_prompts(prompts)
        return prompts

    @model_validator(mode="after")
    def _something_is_learned(self) -> ReLRecConfig:
        if not (self.alpha or self.beta or (self.gamma and self.users != "none")):
            raise ValueError("alpha, beta and gamma are all 0, so that nothing is learned: raise one")
        if self.label_epochs and not self.label_weights:
            raise ValueError(f"label_epochs = {self.label_epochs} with no labels to learn: raise beta or gamma")
        if self.label_epochs >= self.epochs:
            raise ValueError(
                f"label_epochs = {self.label_epochs} of epochs = {self.epochs} leave none in which sequences are "
                "learned: raise epochs"
            )
        return self

    @property
    def label_weights(self) -> dict[Kind, float]:
        """β and γ of the kinds whose labels are reconstructed."""
        given: dict[Kind, float] = {"item": self.beta, "user": self.gamma if self.users != "none" else 0.0}
        return {kind: weight for kind, weight in given.items() if weight}
