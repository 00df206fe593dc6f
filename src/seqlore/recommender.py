"""The contract: ``Model`` and ``Recommender``, optional abilities, saving and loading, and the registry of models.

A model folder holds ``config.json`` (what to build, provenance, and a digest of every other file),
``model.safetensors`` (arrays), ``items.parquet`` (the catalogue) and ``README.md`` (a model card). Nothing is
pickled. A model is found by its registered name only, so a folder cannot name code to run.
"""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from seqlore import manifest, ranking
from seqlore.config import Config, nearest
from seqlore.data import Catalog, Sequences, Split, Vocabulary
from seqlore.errors import ConfigError, DataError
from seqlore.ranking import Lists

#: Registered name → "module:Class". Imported only when asked for, so that listing models costs nothing.
REGISTRY: dict[str, str] = {
    "MostPopular": "seqlore.models.popular:MostPopular",
    "Markov": "seqlore.models.markov:Markov",
    "ItemKNN": "seqlore.models.itemknn:ItemKNN",
    "SKNN": "seqlore.models.sknn:SKNN",
    "VSKNN": "seqlore.models.sknn:VSKNN",
    "SSKNN": "seqlore.models.sknn:SSKNN",
    "SFSKNN": "seqlore.models.sknn:SFSKNN",
    "GRU4Rec": "seqlore.models.gru4rec:GRU4Rec",
    "SASRec": "seqlore.models.sasrec:SASRec",
    "BERT4Rec": "seqlore.models.bert4rec:BERT4Rec",
    "NARM": "seqlore.models.narm:NARM",
    "STAMP": "seqlore.models.stamp:STAMP",
    "FDSA": "seqlore.models.fdsa:FDSA",
    "S3Rec": "seqlore.models.s3rec:S3Rec",
    "LRURec": "seqlore.models.lrurec:LRURec",
    "BSARec": "seqlore.models.bsarec:BSARec",
    "eSASRec": "seqlore.models.esasrec:eSASRec",
    "CL4SRec": "seqlore.models.cl4srec:CL4SRec",
    "ICLRec": "seqlore.models.iclrec:ICLRec",
    "Recformer": "seqlore.models.recformer:Recformer",
    "HGN": "seqlore.models.hgn:HGN",
    "Caser": "seqlore.models.caser:Caser",
    "LLMSeqSim": "seqlore.models.llmseqsim:LLMSeqSim",
    "LLMSeqPrompt": "seqlore.language.llmseqprompt:LLMSeqPrompt",
    "LLM2GRU4Rec": "seqlore.models.gru4rec:LLM2GRU4Rec",
    "LLM2SASRec": "seqlore.models.sasrec:LLM2SASRec",
    "LLM2BERT4Rec": "seqlore.models.bert4rec:LLM2BERT4Rec",
    "Blend": "seqlore.models.blend:Blend",
    "ReLRec": "seqlore.language.relrec:ReLRec",
    "E4SRec": "seqlore.language.e4srec:E4SRec",
    "RecSysLLM": "seqlore.glm.recsysllm:RecSysLLM",
    "TwoStage": "seqlore.rerank.two_stage:TwoStage",
}

#: The same for rerankers, which order candidates and so are served inside a ``TwoStage``.
RERANKERS: dict[str, str] = {
    "DLCM": "seqlore.rerank.dlcm:DLCM",
    "PRM": "seqlore.rerank.prm:PRM",
    "SetRank": "seqlore.rerank.setrank:SetRank",
    "GRU4RecReranker": "seqlore.rerank.gru4rec:GRU4RecReranker",
    "SASRecReranker": "seqlore.rerank.sasrec:SASRecReranker",
}


def register(name: str, target: str) -> None:
    """Make a recommender from outside Seqlore known by ``name``; ``target`` is ``"module:Class"``."""
    REGISTRY[name] = target


def model_class(name: str) -> type[Recommender]:
    """The class registered under ``name``.

    Raises: ConfigError: no such model; the message names the nearest.
    """
    if name not in REGISTRY:
        raise ConfigError(f"there is no model {name!r}{nearest(name, REGISTRY)}; `seqlore models` lists them all")
    return named(REGISTRY[name])


def named(target: str) -> Any:
    """What ``"module:attribute"`` names, imported."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True, eq=False)
class Recommendations:
    """What a user is given: external ids, titles and scores, best first; lists may be shorter than k.

    Attributes: items, titles: [n] lists of up to k. scores: float32 [n, k], −inf where a list is shorter.
    """

    items: list[list[str]]
    titles: list[list[str]]
    scores: NDArray[np.float32]

    def to_frame(self, keys: Sequence[str] | None = None) -> pl.DataFrame:
        """Long format: ``history`` (position or the given key), ``rank`` from 1, ``item_id``, ``title``, ``score``."""
        lengths = [len(row) for row in self.items]
        names = list(range(len(lengths))) if keys is None else list(keys)
        return pl.DataFrame(
            {
                "history": [names[i] for i, n in enumerate(lengths) for _ in range(n)],
                "rank": [r for n in lengths for r in range(1, n + 1)],
                "item_id": [x for row in self.items for x in row],
                "title": [x for row in self.titles for x in row],
                "score": [float(self.scores[i, j]) for i, n in enumerate(lengths) for j in range(n)],
            },
            schema_overrides={"rank": pl.Int32, "score": pl.Float32, "item_id": pl.String, "title": pl.String},
        )


class Model(ABC):
    """What recommenders and rerankers share: settings, a catalogue, ranked lists, and a folder to live in.

    Subclasses set ``paper`` and ``Config``, and implement ``rank``, ``state`` and ``restore``.
    ``Model(setting=value, …)`` builds one.

    Attributes after ``fit``: ``catalog`` (the items), ``about`` (provenance of the fit, for the model card).
    After ``rank``: ``diagnostics``, what the model tells of these lists, as shares by name (most tell nothing).
    """

    paper: ClassVar[str] = ""
    Config: ClassVar[type[Config]] = Config
    #: The model reads user indices, so the user vocabulary is saved with it.
    uses_users: ClassVar[bool] = False

    def __init__(self, config: Config | None = None, /, **settings: Any) -> None:
        if config is None:
            config = self.Config.parse(settings, type(self).__name__)
        elif settings:
            config = config.parse({**config.model_dump(), **settings}, type(self).__name__)
        self.config: Any = config
        self.about: dict[str, Any] = {}
        self.diagnostics: dict[str, float] = {}
        self._catalog: Catalog | None = None
        self.users: Vocabulary | None = None

    @property
    def name(self) -> str:
        """The class name, under which the model is registered."""
        return type(self).__name__

    @property
    def catalog(self) -> Catalog:
        """The items that the model knows; there after ``fit`` or ``load``."""
        if self._catalog is None:
            raise ConfigError(f"{self.name} has not been fitted: call fit(split), or load a saved one")
        return self._catalog

    def _learns_from(self, split: Split) -> None:
        """Note what is about to be fitted on. Raises: DataError: there is nothing to learn from."""
        if not len(split.train.items):
            raise DataError("the training part of the split holds no interactions")
        self._catalog = split.catalog
        self.users = split.users if self.uses_users else None
        held_out = {"valid": split.valid, "test": split.test}
        self.about = {
            "dataset": split.dataset.name,
            "dataset_hash": split.dataset.hash,
            "events_hash": split.dataset.events_hash,
            "split": dict(split.how),
            "held_out": {name: cases.digest for name, cases in held_out.items() if cases is not None},
        }

    def _bind(self, checkpoint: str | Path | None) -> None:
        """A folder of checkpoints, where there is one, is about the data that ``about`` tells of, and :meth:`_reads`.

        Raises: DataError: it is about other data.
        """
        if checkpoint is not None:
            told = {key: self.about[key] for key in ("dataset_hash", "split", "candidates") if key in self.about}
            manifest.bind(Path(checkpoint), told | self._reads())

    def _reads(self) -> dict[str, Any]:
        """Digests of files beside the dataset that a fit begins with, whose names may stay when they change."""
        return {}

    def own_users(self, histories: Sequences, users: Vocabulary) -> Sequences:
        """``histories``, whose users ``users`` numbers, with the numbers that the model has for them.

        0 for a user whom it does not know; a model that knows no users takes any histories as they are.
        """
        if self.users is None or self.users.ids == users.ids:
            return histories
        own = np.concatenate([[0], self.users.index(users.ids)]).astype(np.int32)
        return replace(histories, users=own[histories.users])

    @abstractmethod
    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
    ) -> Lists:
        """Best items first, for dense histories; lists may be short. ``candidates``: dense [c] or [n, c], 0 pads."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything that ``fit`` learned, as tensors."""

    @abstractmethod
    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over what ``state`` returned; ``config`` and ``catalog`` are already there."""

    def children(self) -> Mapping[str, Model]:
        """Models inside this one, saved as subfolders of its folder."""
        return {}

    def adopt(self, children: dict[str, Any]) -> None:  # noqa: B027 (most models have none)
        """Take over loaded children."""

    def save(self, folder: str | Path) -> Path:
        """Write the model folder; returns it. An existing model there is replaced, with its users and parts."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        manifest.clear(folder, self.children())
        state = {k: v.detach().cpu().contiguous() for k, v in self.state().items()}
        save_file(state, folder / "model.safetensors")
        self.catalog.items.write_parquet(folder / "items.parquet")
        if self.users is not None:
            pl.DataFrame({"user_id": self.users.ids}).write_parquet(folder / "users.parquet")
        for name, child in self.children().items():
            child.save(folder / name)
        (folder / "README.md").write_text(model_card(self))
        head = {
            "model": self.name,
            "config": self.config.model_dump(mode="json"),
            "children": sorted(self.children()),
            "about": self.about,
        }
        manifest.write(folder, head)
        return folder


class Recommender(Model):
    """A model that lists items for histories; subclasses implement ``_fit`` beside what every model has.

    ``fit(split)`` alone is enough to train it.
    """

    def fit(self, split: Split, **options: Any) -> Self:
        """Learn from ``split.train``; nets stop on ``split.valid``. Returns the model itself.

        ``options`` are those of ``_fit`` of the family (nets: ``progress``, ``log``, ``checkpoint``, ``exclude_seen``).
        """
        self._learns_from(split)
        self._bind(options.get("checkpoint"))
        self._fit(split, **options)
        return self

    @abstractmethod
    def _fit(self, split: Split) -> None: ...

    def histories(
        self, histories: Sequence[Sequence[str]] | Sequences, users: Sequence[str] | None = None
    ) -> Sequences:
        """External ids → dense ``Sequences``. An id that the catalogue lacks becomes 0, which every model skips."""
        if isinstance(histories, Sequences):
            return histories
        if isinstance(histories, str) or any(isinstance(h, str) for h in histories):
            raise DataError("histories is a list of histories, each a list of item ids: wrap a single one as [[…]]")
        dense = Sequences.from_lists([self.catalog.index_of(h, "a history") for h in histories])
        dense = dense.where(dense.items > 0)
        if isinstance(users, str):
            raise DataError("users is a list of user ids, one a history: wrap a single one as [user]")
        if users is None or self.users is None:
            return dense
        if len(users) != len(dense):
            raise DataError(f"{len(users)} users for {len(dense)} histories: give one user a history")
        return Sequences(dense.items, dense.offsets, self.users.index_of(users, "users"))

    def recommend(
        self,
        histories: Sequence[Sequence[str]] | Sequences,
        k: int = 10,
        *,
        users: Sequence[str] | None = None,
        exclude_seen: bool = True,
        candidates: Sequence[str] | Sequence[Sequence[str]] | None = None,
    ) -> Recommendations:
        """The k best items for each history.

        Args:
            histories: external item ids, oldest first; unknown ids are skipped, an empty history is allowed.
            users: external user ids, for models that know users.
            exclude_seen: leave out items of the history.
            candidates: external ids that may be recommended, for all histories or one list a history.

        Raises: DataError: k is not positive, a single history was not wrapped in a list, or an id is no text.
        """
        if k < 1:
            raise DataError(f"k={k}: ask for at least one recommendation")
        dense = self.histories(histories, users)
        chosen = None
        if candidates is not None:
            if len(candidates) and isinstance(candidates[0], Iterable) and not isinstance(candidates[0], str):
                chosen = Sequences.from_lists([self.catalog.index_of(c, "candidates") for c in candidates]).padded()
            else:
                chosen = self.catalog.index_of(candidates, "candidates")  # type: ignore[arg-type]
        lists = self.rank(dense, min(k, len(self.catalog)), exclude_seen=exclude_seen, candidates=chosen)
        ids, titles = self.catalog.ids, self.catalog.titles
        kept = [row[row > 0].tolist() for row in lists.items]
        return Recommendations(
            [[ids[i - 1] for i in row] for row in kept], [[titles[i - 1] for i in row] for row in kept], lists.scores
        )


def load(folder: str | Path) -> Recommender:
    """Load a recommender's folder; the dataset is not needed.

    Raises: DataError: the folder is no model folder, is damaged, was written by a newer version, or holds a reranker.
    """
    model = load_any(folder)
    if not isinstance(model, Recommender):
        raise DataError(
            f"{folder}: {model.name} is a reranker, which finds no items; Reranker.load it, and serve it in TwoStage"
        )
    return model


def load_any(folder: str | Path) -> Model:
    """As :func:`load`, for a folder of any model."""
    folder = Path(folder)
    head = manifest.read(folder)
    name = head["model"]
    model: Model = (named(RERANKERS[name]) if name in RERANKERS else model_class(name))(**head["config"])
    model._catalog = Catalog(pl.read_parquet(folder / "items.parquet"), ordered=True)
    if "users.parquet" in head["files"]:
        model.users = Vocabulary(pl.read_parquet(folder / "users.parquet")["user_id"].to_list(), ordered=True)
    model.adopt({child: load_any(folder / Path(child).name) for child in head.get("children", [])})
    model.about = head.get("about", {})
    model.restore(load_file(folder / "model.safetensors"))
    return model


def model_card(model: Model) -> str:
    """The README.md of a model folder."""
    lines = [f"# {model.name}", "", model.paper or "No paper.", "", "## Settings", ""]
    lines += [f"- `{k}`: {v}" for k, v in model.config.model_dump(mode="json").items()]
    lines += ["", "## Provenance", ""]
    lines += [f"- {k}: {json.dumps(v, default=str) if isinstance(v, dict) else v}" for k, v in model.about.items()]
    lines += ["", "Load it with `seqlore.load(folder)`, or ask it with `seqlore recommend FOLDER --history ID,ID`.", ""]
    return "\n".join(lines)


class ScoringRecommender(Recommender):
    """A recommender that scores the whole catalogue, and so inherits ``rank``."""

    @abstractmethod
    def score(self, histories: Sequences) -> Tensor:
        """Scores [n, catalog.size] float32, column 0 ignored; the caller may overwrite them."""

    def rank(
        self,
        histories: Sequences,
        k: int,
        *,
        exclude_seen: bool = True,
        candidates: NDArray[np.integer] | None = None,
        targets: NDArray[np.integer] | None = None,
    ) -> Lists:
        """As in the contract; ``targets`` [n] also asks whether the target was in a tie."""
        return ranking.rank(
            self.score,
            histories,
            k,
            size=self.catalog.size,
            exclude_seen=exclude_seen,
            candidates=candidates,
            targets=targets,
        )


@runtime_checkable
class HasItemVectors(Protocol):
    """Optional ability: score = ⟨encode(history), item vector⟩, so that an index can search the catalogue."""

    def item_vectors(self) -> Tensor:
        """[catalog.size, d]; row 0 is padding."""
        ...

    def encode(self, histories: Sequences) -> Tensor:
        """[n, d]."""
        ...
