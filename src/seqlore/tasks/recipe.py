"""A recipe of task experiments: data, the one split, what is told, what is asked, and rows of models."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, NonNegativeInt, model_validator

from seqlore.config import Config, FolderName, nearest
from seqlore.errors import ConfigError
from seqlore.experiment.overrides import apply
from seqlore.experiment.recipe import DatasetSettings
from seqlore.experiment.split import SplitSettings
from seqlore.recommender import REGISTRY, model_class, named
from seqlore.tasks.material import MaterialConfig
from seqlore.tasks.model import TaskEvaluation

#: rater: stars without prompts; direct: candidates; explainer: sentences; task: all families, by prompts; zero: a
#: language model as it is; recommender: any of `seqlore models`, on the sequential family.
Kind = Literal["rater", "direct", "explainer", "task", "zero", "recommender"]


class Entry(NamedTuple):
    """Attributes: kind. target: "module:Class". config: "module:Class" of its settings, or none."""

    kind: Kind
    target: str
    config: str = ""


_RATINGS, _DIRECT = "seqlore.tasks.baselines.ratings", "seqlore.tasks.baselines.direct"
_WORDS = "seqlore.tasks.baselines.explanations"
MODELS: dict[str, Entry] = {
    "GlobalMean": Entry("rater", f"{_RATINGS}:GlobalMean"),
    "Biases": Entry("rater", f"{_RATINGS}:Biases", f"{_RATINGS}:BiasesConfig"),
    "ToldNumbers": Entry("rater", f"{_RATINGS}:ToldNumbers"),
    "MF": Entry("rater", f"{_RATINGS}:MF", f"{_RATINGS}:FactorConfig"),
    "MLP": Entry("rater", f"{_RATINGS}:MLP", f"{_RATINGS}:FactorConfig"),
    "Popularity": Entry("direct", f"{_DIRECT}:Popularity"),
    "BPRMF": Entry("direct", f"{_DIRECT}:BPRMF", f"{_DIRECT}:DirectConfig"),
    "BPRMLP": Entry("direct", f"{_DIRECT}:BPRMLP", f"{_DIRECT}:DirectConfig"),
    "SimpleX": Entry("direct", f"{_DIRECT}:SimpleX", f"{_DIRECT}:DirectConfig"),
    "Attn2Seq": Entry("explainer", f"{_WORDS}:Attn2Seq", f"{_WORDS}:ExplainerConfig"),
    "NRT": Entry("explainer", f"{_WORDS}:NRT", f"{_WORDS}:ExplainerConfig"),
    "PETER": Entry("explainer", f"{_WORDS}:PETER", f"{_WORDS}:ExplainerConfig"),
    "PETERPlus": Entry("explainer", f"{_WORDS}:PETERPlus", f"{_WORDS}:ExplainerConfig"),
    "P5": Entry("task", "seqlore.tasks.p5:P5", "seqlore.tasks.p5:P5Config"),
    "TaskGLM": Entry("task", "seqlore.tasks.glm:TaskGLM", "seqlore.tasks.glm:TaskGLMConfig"),
    "ZeroShot": Entry("zero", "seqlore.tasks.zeroshot:ZeroShot", "seqlore.tasks.recipe:ZeroShotConfig"),
}


class ZeroShotConfig(Config):
    """Settings of the ZeroShot rows. A server's key comes from the environment, and is never written into a recipe."""

    language_model: str = Field(
        min_length=1, description='"openai:MODEL", "openai:MODEL@URL", or the folder or hub name of a local model.'
    )
    options: dict[str, Any] = Field(default={}, description="Settings of that kind of model, as for lore.")
    max_tokens: int = Field(default=256, ge=1, description="Of an answer.")
    title_words: int | None = Field(default=None, ge=1, description="Words of a title; None = all.")


class Row(Config):
    """One model of an experiment."""

    model: str = Field(description="A model of tasks, or for the sequential family any of `seqlore models`.")
    label: str = Field(default="", description="In tables; the model's own name where it is not given.")
    settings: dict[str, Any] = Field(default={}, description="Of the model.")
    published: dict[str, dict[str, float]] = Field(
        default={}, description='What others report, by "family", or "family way of asking", and metric.'
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.model not in MODELS and self.model not in REGISTRY:
            raise ValueError(f"there is no model {self.model!r}{nearest(self.model, [*MODELS, *REGISTRY])}")
        return self

    @property
    def name(self) -> str:
        """The label."""
        return self.label or self.model

    @property
    def slug(self) -> str:
        """The label as a part of a file name."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.")

    @property
    def kind(self) -> Kind:
        """What it is."""
        return MODELS[self.model].kind if self.model in MODELS else "recommender"

    def build(self, seed: int) -> Any:
        """An unfitted model; of ZeroShot and of recommenders their settings or class are used by the runner."""
        if self.kind == "recommender":
            cls = model_class(self.model)
            seeds = {"seed": seed} if "seed" in cls.Config.model_fields else {}
            return cls(cls.Config.parse({**self.settings, **seeds}, f"models.{self.name}.settings"))
        entry = MODELS[self.model]
        if not entry.config:
            if self.settings:
                raise ConfigError(f"models.{self.name}.settings: {self.model} has no settings; remove them")
            return named(entry.target)()
        config = named(entry.config)
        seeds = {"seed": seed} if "seed" in config.model_fields else {}
        parsed = config.parse({**self.settings, **seeds}, f"models.{self.name}.settings")
        return parsed if self.kind == "zero" else named(entry.target)(parsed)


class Published(Config):
    """A row of a paper's table that stands for no model here."""

    label: str
    values: dict[str, dict[str, float]] = Field(description='By "family" or "family way of asking", and metric.')
    note: str = Field(default="", description="Say what is wrong with it, where it cannot be.")


class TaskRecipe(Config):
    """A task experiment."""

    name: FolderName = Field(default="tasks", description="Of the run folder.")
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1, description="Each row is fitted once a seed.")
    dataset: DatasetSettings
    split: SplitSettings = Field(default_factory=SplitSettings, description="One tie rule.")
    material: MaterialConfig = Field(default_factory=MaterialConfig, description="What is told.")
    evaluation: TaskEvaluation = Field(default_factory=TaskEvaluation, description="What is asked.")
    models: tuple[Row, ...] = Field(min_length=1)
    baseline: str | None = Field(default=None, description="Label of the row that the others are tested against.")
    published: tuple[Published, ...] = Field(default=(), description="Rows of the paper beside ours.")
    published_source: str = Field(default="", description="Where they are from.")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        names = [row.slug for row in self.models]
        if len(set(names)) < len(names):
            twice = next(n for n in names if names.count(n) > 1)
            raise ValueError(f"two rows are called {twice!r}: give each a label of its own")
        if self.baseline not in (None, *(row.name for row in self.models)):
            raise ValueError(f"baseline {self.baseline!r} is no row{nearest(str(self.baseline), names)}")
        if len(self.split.ties) > 1:
            raise ValueError("split.ties: tasks have one split, so give one tie rule")
        return self

    @classmethod
    def load(cls, path: str | Path, set: Iterable[str] = ()) -> Self:
        """Read a TOML file, with changes as in ``seqlore run``; settings of all rows are checked.

        Raises: ConfigError: one sentence that names the file, the key, and the nearest valid key.
        """
        try:
            given = tomllib.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); recipes are in recipes/") from error
        except ValueError as error:
            raise ConfigError(f"{path}: not valid TOML ({error})") from error
        out = cls.parse(apply(given, set), str(path))
        for row in out.models:
            if "seed" in row.settings:
                raise ConfigError(f"models.{row.name}.settings.seed: write seeds = [...] at the top instead")
            row.build(0)
        return out
