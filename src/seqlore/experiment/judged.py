"""What a reranking recipe fits and judges with one seed: a backbone with an augmentation, or a recommender on its own.

Each is a folder of its own, finished once ``pair.json`` stands in it. The digest of its settings is a part of the
folder's name, so that a run with other settings takes nothing away.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seqlore.config import digest
from seqlore.data import Split
from seqlore.evaluation import Report, evaluate
from seqlore.evaluation.candidates import SampledCases
from seqlore.experiment.contents import with_contents
from seqlore.experiment.journal import write_json
from seqlore.experiment.pairs import Backbone, Column, PairRecipe, Whole
from seqlore.experiment.screen import Screen
from seqlore.fitting import fit_with
from seqlore.rerank.candidates import CandidateSource
from seqlore.rerank.ranker import NetReranker
from seqlore.version import __version__

#: Settings younger than folders that are to be found again; where they are None, nothing is different.
LATER = ("schedule_epochs", "continued", "target_step", "text_dropout")


@dataclass(frozen=True, kw_only=True)
class Judged(ABC):
    """One seed of a row of the table."""

    recipe: PairRecipe
    seed: int
    split: Split
    root: Path

    @property
    @abstractmethod
    def label(self) -> str:
        """Of the row."""

    @property
    @abstractmethod
    def shelf(self) -> Path:
        """The folder of this seed, without the digest."""

    @cached_property
    def folder(self) -> Path:
        """Of this seed with these settings."""
        old = self.shelf  # of the time when names had no digest
        begun = (old / f"unfinished-{self.digest}").is_dir()
        return old if begun or _digest_in(old) == self.digest else old.with_name(f"{old.name}--{self.digest}")

    @abstractmethod
    def model(self) -> Any:
        """Unfitted."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Registered name of the model."""

    @cached_property
    def digest(self) -> str:
        """Of everything on which the result depends."""
        return digest(
            16,
            seqlore=__version__,
            dataset=self.split.dataset.hash,
            split=self.split.how,
            candidates=self.recipe.candidates.model_dump(mode="json"),
            at=self.recipe.evaluation.at,
            model=self.kind,
            **with_contents(_as_before(self.model().config.model_dump(mode="json"))),
        )

    def record(self) -> dict[str, Any] | None:
        """What a finished run of these settings found."""
        found = _record_in(self.folder)
        return found if found and found["digest"] == self.digest else None

    def forget(self) -> None:
        """Remove what a run of these settings has left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, source: CandidateSource, cases: SampledCases, screen: Screen, base: Judged | None = None) -> None:
        """Fit, judge, keep. An unfinished fit of the same settings goes on where it was."""
        unfinished = self.folder / f"unfinished-{self.digest}"
        unfinished.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"progress": screen.epoch, "log": self.folder / "log.jsonl"}
        options["checkpoint"] = unfinished / "net"
        started = time.perf_counter()
        model = self.fitted(source, base, options)
        seconds = time.perf_counter() - started
        report = evaluate(model, self.split, cases=cases, at=self.recipe.evaluation.at, name=self.label, seed=self.seed)
        report.save(self.folder / "report")
        model.save(self.folder / "model")
        known = ("epochs", "best_epoch", "valid", "parameters", "seconds_per_epoch")
        about = {key: model.about[key] for key in known if key in model.about}
        record = {"digest": self.digest, "label": self.label, "seed": self.seed, "fit_seconds": seconds, **about}
        write_json(self.folder / "pair.json", {**record, "metrics": report.metrics})
        shutil.rmtree(unfinished)  # last: until the record stands, it is all that a fit of hours has left

    @abstractmethod
    def fitted(self, source: CandidateSource, base: Judged | None, options: dict[str, Any]) -> Any:
        """The model, fitted; ``base``: the backbone without augmentation, where it is another row."""

    def report(self) -> Report:
        """Of a finished run."""
        return Report.load(self.folder / "report")


@dataclass(frozen=True, kw_only=True)
class Pair(Judged):
    """A backbone with an augmentation."""

    backbone: Backbone
    column: Column

    @property
    def label(self) -> str:
        return f"{self.backbone.label} · {self.column.label}"

    @property
    def shelf(self) -> Path:
        return self.root / "pairs" / _slug(f"{self.backbone.label}--{self.column.label}--{self.seed}")

    @property
    def kind(self) -> str:
        return self.backbone.model

    def model(self) -> Any:
        return self.recipe.model(self.backbone, self.column, self.seed)

    @property
    def starts_from_base(self) -> bool:
        """Whether a phase of it needs the backbone without augmentation."""
        return self.model().starts_from_base

    def fitted(self, source: CandidateSource, base: Judged | None, options: dict[str, Any]) -> Any:
        if base is not None and self.starts_from_base and base.record() is not None:
            options = {**options, "base": NetReranker.load(base.folder / "model")}
        return self.model().fit(self.split, source, **options)


@dataclass(frozen=True, kw_only=True)
class Alone(Judged):
    """A recommender that needs no backbone: Table 5 of Zhang et al. (2025)."""

    row: Whole

    @property
    def label(self) -> str:
        return self.row.label

    @property
    def shelf(self) -> Path:
        return self.root / "recommenders" / _slug(f"{self.label}--{self.seed}")

    @property
    def kind(self) -> str:
        return self.row.model

    def model(self) -> Any:
        return self.recipe.recommender(self.row, self.seed)

    def fitted(self, source: CandidateSource, base: Judged | None, options: dict[str, Any]) -> Any:
        return fit_with(self.model(), self.split, **options)


def _as_before(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those of ``LATER`` that are None, tables within tables alike."""
    return {
        key: _as_before(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if key not in LATER or value is not None
    }


def _record_in(folder: Path) -> dict[str, Any] | None:
    path = folder / "pair.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _digest_in(folder: Path) -> str | None:
    return (_record_in(folder) or {}).get("digest")


def _slug(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name)
