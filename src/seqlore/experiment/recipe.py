"""The recipe: an experiment as settings, read from TOML and written back with every default spelled out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BeforeValidator, Field, NonNegativeInt, field_validator, model_validator

from seqlore.config import Config, FolderName, nearest, plain
from seqlore.data.simulate import ShopConfig
from seqlore.errors import ConfigError
from seqlore.evaluation import parse_metric
from seqlore.experiment.overrides import apply, merged
from seqlore.experiment.split import SplitSettings
from seqlore.recommender import Recommender, model_class
from seqlore.text.source import TextInit, TextSource


class DatasetSettings(Config):
    """Where the data comes from (a folder or a simulated shop) and what is filtered out of it."""

    #: A dataset folder. ``${NAME}`` and ``~`` expand when it is opened, so that no machine's path enters a recipe.
    path: str | None = None
    simulate: ShopConfig | None = None
    min_rating: float | None = None
    #: Keep the first or the last of a user's events with the same item; "all" keeps them as they are.
    duplicates: Literal["all", "first", "last"] = "all"
    #: Fewest interactions of every user and every item, iterated until it holds.
    k_core: int | None = Field(default=None, ge=1)
    #: The same with limits of their own: fewest of every user, of every item; one alone leaves the other at 1.
    user_core: int | None = Field(default=None, ge=1)
    item_core: int | None = Field(default=None, ge=1)
    #: Fewest interactions of a user.
    min_length: int | None = Field(default=None, ge=1)
    #: Keep items that no interaction is left of; they are ranked like any other.
    keep_items: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.simulate is None):
            raise ValueError('give either path = "FOLDER" or a [dataset.simulate] table')
        if self.k_core is not None and (self.user_core is not None or self.item_core is not None):
            raise ValueError("k_core limits users and items alike: give it, or user_core and item_core, and not both")
        return self

    @property
    def core(self) -> tuple[int, int] | None:
        """Fewest interactions of a user and of an item; None = no such filter."""
        limits = (self.user_core or self.k_core, self.item_core or self.k_core)
        return (limits[0] or 1, limits[1] or 1) if any(limits) else None


def _known_metric(name: str) -> str:
    try:
        parse_metric(name)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return name


def text_sources(config: Config) -> Iterator[TextSource]:
    """The text sources among a model's settings, also in those of the parts of a blend."""
    for value in config.__dict__.values():
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, TextSource):
                yield each
            elif isinstance(each, Config) and {"model", "settings"} <= each.__dict__.keys():
                part = each.__dict__
                yield from text_sources(model_class(part["model"]).Config.parse(part["settings"], part["model"]))


def _distinct(values: Any) -> Any:
    """Refuses what is no list, or holds a value twice."""
    if values is None:
        return None
    if not isinstance(values, list | tuple):
        raise ValueError(f"write a list: [{values}]")
    if twice := [each for i, each in enumerate(values) if each in values[:i]]:
        raise ValueError(f"{twice[0]!r} stands there twice")
    return values


class EvaluationSettings(Config):
    """How all rows are judged; see :func:`seqlore.evaluation.evaluate`."""

    at: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(5, 10, 20), min_length=1)
    exclude_seen: bool = True
    candidates: Literal["catalog", "train"] = "catalog"
    #: "all" counts held-out interactions for novelty and the popular list too, as Harte et al. (2023) do.
    novelty_counts: Literal["train", "all"] = "train"
    masked_popularity: bool = False
    #: Orders the rows, chooses the winner (on validation cases), and is tested.
    metric: str = "ndcg@10"
    #: Label of the row with which the others are compared; none = no tests.
    baseline: str | None = None

    @model_validator(mode="after")
    def _metric_is_computed(self) -> Self:
        if parse_metric(_known_metric(self.metric))[1] not in self.at:
            raise ValueError(f"metric {self.metric!r} has a cut-off that is not among at = {list(self.at)}")
        return self


class ModelSettings(Config):
    """One row of the leaderboard."""

    model: str
    #: Name in tables and files; the model's own where it is not given.
    label: str = ""
    #: "train+valid": fitted again on both after the validation cases have chosen the number of epochs.
    fit_on: Literal["train", "train+valid"] = "train"
    #: In place of the recipe's; a model without chance in it is fitted once, whatever is asked for.
    seeds: Annotated[tuple[NonNegativeInt, ...] | None, BeforeValidator(_distinct)] = Field(default=None, min_length=1)
    #: What others report for this row on the published order of events, by metric.
    published: dict[str, float] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _label(cls, given: Any) -> Any:
        return {**given, "label": given.get("label") or given.get("model", "")} if isinstance(given, Mapping) else given

    @field_validator("published")
    @classmethod
    def _metrics(cls, published: dict[str, float]) -> dict[str, float]:
        return {_known_metric(name): value for name, value in published.items()}

    @property
    def slug(self) -> str:
        """The label as a part of a file name."""
        return re.sub(r"[^\w.+-]+", "-", self.label).strip("-.")

    @property
    def config(self) -> Config:
        """The model's validated settings. Raises: ConfigError: no such model or setting; names the nearest."""
        settings = model_class(self.model).Config
        return settings.parse(self.settings, f"models.{self.label}.settings")

    @property
    def random(self) -> bool:
        """The seed of the model, or of a part of it, matters under these settings."""
        return self.config.random

    def build(self, seed: int, **changed: Any) -> Recommender:
        """An unfitted model."""
        settings = _seeded(self.model, {**self.settings, **changed}, seed)
        cls = model_class(self.model)
        return cls(cls.Config.parse(settings, f"models.{self.label}.settings"))


def _seeded(model: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """The settings with ``seed`` wherever the model, or a part of a blend, has one."""
    fields = model_class(model).Config.model_fields
    if "seed" in fields:
        return {**settings, "seed": seed}
    given = settings.get("models", []) if "models" in fields else []
    parts = [{**part, "settings": _seeded(part["model"], part.get("settings", {}), seed)} for part in given]
    return {**settings, "models": parts} if parts else settings


class Recipe(Config):
    """An experiment."""

    name: FolderName = "run"
    #: Of the models; each is fitted once a seed, and tables give mean and standard deviation.
    seeds: Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_distinct)] = Field(default=(0,), min_length=1)
    dataset: DatasetSettings
    split: SplitSettings = SplitSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    models: tuple[ModelSettings, ...] = Field(min_length=1)
    #: ``[defaults.CLASS]``: settings of every row of that class or of one derived from it (``NetRecommender``: all
    #: nets). What is nearer to the row stands over what is farther, table within table; the row's own over all.
    defaults: dict[str, dict[str, Any]] = Field(default_factory=dict, exclude=True)
    #: Where the ``published`` figures of the rows come from.
    published_source: str = ""
    #: They are the best of several runs; ours beside them is then the best seed's.
    published_best: bool = False
    #: Fit the winner once more on all interactions, held-out ones included, for use.
    refit_winner: bool = False

    @model_validator(mode="before")
    @classmethod
    def _write_defaults_into_rows(cls, given: Any) -> Any:
        match given:
            case {"defaults": {**defaults}, "models": [*rows]}:
                lines = [_line(row) for row in rows]
                known = {name for line in lines for name in line}
                for name in defaults:
                    if name not in known:
                        raise ValueError(f"defaults.{name}: no row has this model{nearest(name, known)}")
                return {**given, "models": [_over(defaults, line, row) for line, row in zip(lines, rows, strict=True)]}
        return given

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        slugs: dict[str, str] = {}  # → label
        for entry in self.models:
            if not entry.slug:
                raise ValueError(f"label {entry.label!r} has no letter or digit that a file name could bear")
            if entry.slug in slugs:
                raise ValueError(
                    f"two models are labelled {entry.label!r}: give each its own label"
                    if slugs[entry.slug] == entry.label
                    else f"the models {slugs[entry.slug]!r} and {entry.label!r} would both be kept as {entry.slug!r}: "
                    "give one another label"
                )
            slugs[entry.slug] = entry.label
            for name in entry.published:
                if (cut := parse_metric(name)[1]) not in self.evaluation.at:
                    raise ValueError(
                        f"models.{entry.label}.published: {name!r} is not computed: add {cut} to evaluation.at = "
                        f"{list(self.evaluation.at)}, or leave the figure out"
                    )
        if self.evaluation.baseline not in (None, *(e.label for e in self.models)):
            labels = ", ".join(e.label for e in self.models)
            raise ValueError(f"baseline {self.evaluation.baseline!r} is no label of this recipe ({labels})")
        return self

    @classmethod
    def load(cls, path: str | Path, set: Iterable[str] = ()) -> Self:
        """Read a TOML file.

        Args: set: changes such as ``"split.ties=file"`` or ``"models.SASRec.settings.epochs=3"``.

        Raises: ConfigError: one sentence that names the file, the key, and the nearest valid key.
        """
        path = Path(path)
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); recipes are in the folder recipes/"
            ) from error
        except ValueError as error:  # not TOML, or not UTF-8
            raise ConfigError(f"{path}: not valid TOML ({error})") from error
        return cls.parse(apply(settings, set), str(path)).checked()

    def changed(self, set: Iterable[str]) -> Self:
        """The recipe with changes as in :meth:`load`."""
        changes = list(set)
        return self.parse(apply(plain(self, None), changes), "--set") if changes else self

    def checked(self) -> Self:
        """The recipe itself, once every model's settings are known to be valid, so that no run fails late."""
        for entry in self.models:
            if "seed" in entry.settings:
                raise ConfigError(f"models.{entry.label}.settings.seed: write seeds = [...] beside model instead")
            for source in text_sources(entry.config):
                if isinstance(source, TextInit):
                    source.check()
        return self

    def labels(self, only: Sequence[str] = ()) -> list[str]:
        """The labels of the rows, or those in ``only``. Raises: ConfigError: no such label; names the nearest."""
        known = [entry.label for entry in self.models]
        for label in only:
            if label not in known:
                raise ConfigError(f"recipe {self.name!r} has no row {label!r}{nearest(label, known)}")
        return list(only) or known

    def seeds_of(self, entry: ModelSettings) -> tuple[int, ...]:
        """The seeds with which a row is fitted."""
        seeds = entry.seeds or self.seeds
        return seeds if entry.random else seeds[:1]

    def to_toml(self) -> str:
        """The recipe with every default written out."""
        whole = plain(self)
        for entry, out in zip(self.models, whole["models"], strict=True):
            out["seeds"] = list(self.seeds_of(entry))
            out["settings"] = {k: v for k, v in plain(entry.config).items() if k != "seed"}
        return tomli_w.dumps(whole)


def _line(row: Any) -> list[str]:
    """Names of the classes from which a row's model is derived, the model last; none where there is no such model."""
    try:
        return [cls.__name__ for cls in reversed(model_class(row["model"]).__mro__)]
    except (ConfigError, KeyError, TypeError):
        return []  # validation of the row will say what is wrong with it


def _over(defaults: Mapping[str, Any], line: Iterable[str], row: Any) -> Any:
    tables = [defaults[name] for name in line if name in defaults]
    return {**row, "settings": merged(*tables, row.get("settings", {}))} if tables else row
