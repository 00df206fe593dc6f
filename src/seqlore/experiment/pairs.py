"""The recipe of a reranking experiment: every backbone with every augmentation, on lists of one kind.

The grid of Zhang et al. (COLING 2025), Tables 2, 3 and 6, is of this shape: five backbones, five augmentations, and
ablations on two of the backbones.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import Field, NonNegativeInt, model_validator

from seqlore.config import Config, FolderName, nearest, plain
from seqlore.errors import ConfigError
from seqlore.evaluation import parse_metric
from seqlore.experiment.overrides import apply, merged
from seqlore.experiment.recipe import DatasetSettings
from seqlore.experiment.split import SplitSettings
from seqlore.recommender import Recommender, model_class
from seqlore.rerank.augment import NoAugmentation, augmentation_class
from seqlore.rerank.candidates import CandidateSource, Retrieved, Uniform
from seqlore.rerank.reranker import Reranker, reranker_class


class Retriever(Config):
    """What finds candidates."""

    model: str
    settings: dict[str, Any] = Field(default_factory=dict)


#: Kind of candidates → keys that only it has.
_OWN = {"uniform": ("n", "unseen"), "retrieved": ("k", "folds", "retriever")}


class CandidateSettings(Config):
    """Which lists are reranked."""

    kind: Literal["uniform", "retrieved"] = "uniform"
    #: Of "uniform": items beside the target; what is never drawn (see seqlore.evaluation.candidates).
    n: int = Field(default=99, ge=1)
    unseen: Literal["user", "history"] = "user"
    #: Of "retrieved": length of the lists, and folds of users for those of training.
    k: int = Field(default=100, ge=2)
    folds: int = Field(default=5, ge=2)
    retriever: Retriever = Retriever(model="SASRec")
    #: Of the draws for test cases. Training and validation have the models' seeds.
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _own_settings_only(self) -> Self:
        for kind, names in _OWN.items():
            for name in names if kind != self.kind else ():
                if name in self.model_fields_set:
                    raise ValueError(f"{name!r} belongs to kind {kind!r}, not to {self.kind!r}: remove it")
        if self.kind == "retrieved":
            try:
                model_class(self.retriever.model).Config.parse(self.retriever.settings, "retriever.settings")
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return self

    def source(self, keep: Path | None = None) -> CandidateSource:
        """An unfitted source. Args: keep: where fitted retrievers stay."""
        if self.kind == "uniform":
            return Uniform(self.n, self.unseen)
        cls, given = model_class(self.retriever.model), self.retriever.settings

        def retriever() -> Recommender:
            return cls(cls.Config.parse(given, "candidates.retriever"))

        return Retrieved(retriever, self.k, self.folds, self.seed, keep=keep)


def _labelled(given: Any) -> Any:
    """A row is called by its model where it has no label."""
    return {**given, "label": given.get("label") or given.get("model", "")} if isinstance(given, Mapping) else given


class Backbone(Config):
    """A row of the grid."""

    model: str
    label: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    #: Settings of augmentations that differ on this backbone, by the augmentation's registered name.
    augmentations: dict[str, dict[str, Any]] = Field(default_factory=dict)

    _label = model_validator(mode="before")(_labelled)


class Column(Config):
    """An augmentation, on every backbone or on some."""

    name: str
    label: str
    settings: dict[str, Any] = Field(default_factory=dict)
    backbones: tuple[str, ...] | None = None


class Whole(Config):
    """A recommender that needs no backbone, judged on the same lists."""

    model: str
    label: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    _label = model_validator(mode="before")(_labelled)


class Published(Config):
    """What others report: backbone → augmentation → values of ``metrics``, in their order; recommender → by metric.

    A row may be shorter than ``metrics``.
    """

    source: str = ""
    metrics: tuple[str, ...] = ()
    rows: dict[str, dict[str, tuple[float, ...]]] = Field(default_factory=dict)
    recommenders: dict[str, dict[str, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _metrics(self) -> Self:
        try:
            for name in (*self.metrics, *(name for row in self.recommenders.values() for name in row)):
                parse_metric(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        for backbone, rows in self.rows.items():
            for column, values in rows.items():
                if len(values) > len(self.metrics):
                    raise ValueError(
                        f"rows.{backbone}.{column} has {len(values)} values for {len(self.metrics)} metrics"
                    )
        return self

    def of(self, backbone: str, column: str) -> dict[str, float]:
        """Metric → value; {} where nothing is reported."""
        return dict(zip(self.metrics, self.rows.get(backbone, {}).get(column, ()), strict=False))


class Judging(Config):
    """How pairs are judged, and which are compared."""

    at: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 5, 10, 20), min_length=1)
    metric: str = "ndcg@10"
    #: Labels of the augmentations with which all others of their backbone are compared.
    against: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _computed(self) -> Self:
        if parse_metric(self.metric)[1] not in self.at:
            raise ValueError(f"metric {self.metric!r} has a cut-off that is not among at = {list(self.at)}")
        return self


class PairRecipe(Config):
    """A reranking experiment."""

    name: FolderName = "rerank"
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0,), min_length=1)
    dataset: DatasetSettings
    split: SplitSettings = SplitSettings(protocol="user-ratio")
    candidates: CandidateSettings = CandidateSettings()
    evaluation: Judging = Judging()
    #: Settings of every backbone; of the texts of every augmentation that has some.
    settings: dict[str, Any] = Field(default_factory=dict)
    knowledge: dict[str, Any] = Field(default_factory=dict)
    #: ``[defaults.CLASS]``: settings of all augmentations of that name; a backbone's stand over them, a row's over all.
    defaults: dict[str, dict[str, Any]] = Field(default_factory=dict)
    backbones: tuple[Backbone, ...] = Field(min_length=1)
    augmentations: tuple[Column, ...] = Field(min_length=1)
    recommenders: tuple[Whole, ...] = ()
    published: Published = Published()

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        for what, labels in (
            ("backbones or recommenders", [each.label for each in (*self.backbones, *self.recommenders)]),
            ("augmentations", [each.label for each in self.augmentations]),
        ):
            if len(set(labels)) < len(labels):
                raise ValueError(f"two {what} have one label: give each its own")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds = {list(self.seeds)}: give each seed once")
        if len(self.split.ties) > 1:
            raise ValueError("split.ties: a reranking experiment has one tie rule; run it twice")
        self._names_fit()
        return self

    def _names_fit(self) -> None:
        """Raises: ValueError: a key or value names a row that is not there."""
        rows, columns = ([each.label for each in these] for these in (self.backbones, self.augmentations))
        names = {each.name for each in self.augmentations}
        asked: list[tuple[str, Iterable[str], str, Collection[str]]] = [
            ("defaults", self.defaults, "row with the augmentation", names),
            ("evaluation.against", self.evaluation.against, "augmentation", columns),
            ("published.rows", self.published.rows, "backbone", rows),
            *((f"published.rows.{label}", row, "augmentation", columns) for label, row in self.published.rows.items()),
            (
                "published.recommenders",
                self.published.recommenders,
                "recommender",
                [each.label for each in self.recommenders],
            ),
            *(
                (f"backbones.{each.label}.augmentations", each.augmentations, "row with the augmentation", names)
                for each in self.backbones
            ),
            *(
                (f"augmentations.{each.label}.backbones", each.backbones or (), "backbone", rows)
                for each in self.augmentations
            ),
        ]
        for where, given, what, known in asked:
            for name in given:
                if name not in known:
                    raise ValueError(f"{where}: there is no {what} {name!r}{nearest(name, known)}")

    @classmethod
    def load(cls, path: str | Path, set: Iterable[str] = ()) -> Self:
        """Read a TOML file, with changes such as ``"backbones.PRM.settings.epochs=3"``.

        Raises: ConfigError: one sentence that names the file, the key, and the nearest valid key.
        """
        try:
            given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror}); recipes are in recipes/") from error
        except ValueError as error:
            raise ConfigError(f"{path}: not valid TOML ({error})") from error
        recipe = cls.parse(apply(given, set), str(path))
        for backbone, column in recipe.pairs():
            recipe.model(backbone, column, recipe.seeds[0])
        for row in recipe.recommenders:
            recipe.recommender(row, recipe.seeds[0])
        return recipe

    def pairs(self) -> Iterator[tuple[Backbone, Column]]:
        """Every pair, those without augmentation first, as others start from them."""
        plain = NoAugmentation.__name__
        for column in sorted(self.augmentations, key=lambda each: each.name != plain):
            for backbone in self.backbones:
                if column.backbones is None or backbone.label in column.backbones:
                    yield backbone, column

    def model(self, backbone: Backbone, column: Column, seed: int) -> Reranker:
        """An unfitted pair. Raises: ConfigError: no such class or setting; names the nearest."""
        augmentation = augmentation_class(column.name)
        told = {"knowledge": self.knowledge} if "knowledge" in augmentation.Config.model_fields else {}
        own = merged(
            told, self.defaults.get(column.name, {}), backbone.augmentations.get(column.name, {}), column.settings
        )
        settings = {**merged(self.settings, backbone.settings), "seed": seed}
        cls = reranker_class(backbone.model)
        settings["augmentation"] = {
            "name": column.name,
            "settings": augmentation.Config.parse(own, f"augmentations.{column.label}").model_dump(mode="json"),
        }
        return cls(cls.Config.parse(settings, f"backbones.{backbone.label}"))

    def recommender(self, row: Whole, seed: int) -> Recommender:
        """An unfitted recommender. Raises: ConfigError: no such class or setting; names the nearest."""
        cls = model_class(row.model)
        own = {"seed": seed} if "seed" in cls.Config.model_fields else {}
        return cls(cls.Config.parse({**own, **row.settings}, f"recommenders.{row.label}"))

    def to_toml(self) -> str:
        """The recipe as it was understood."""
        whole = plain(self)
        for kind, names in _OWN.items():
            for name in names if kind != self.candidates.kind else ():
                whole["candidates"].pop(name, None)
        return tomli_w.dumps(whole)
