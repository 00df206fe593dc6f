"""One trial: a model with one seed, fitted on one split, judged, measured and kept."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import inspect
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import psutil

from seqlore.config import Config
from seqlore.data import Split
from seqlore.evaluation import Report, evaluate
from seqlore.experiment.recipe import EvaluationSettings, ModelSettings
from seqlore.recommender import Model, Recommender, load, model_class
from seqlore.text import TextSource
from seqlore.version import __version__

EpochProgress = Callable[[dict[str, Any]], None]


class PeakMemory:
    """The largest resident set of this process while open, in MB, sampled every 20 ms.

    The kernel's own high-water mark only ever rises, so it could not tell the second model of a run from the first.
    """

    def __enter__(self) -> Self:
        self._process, self._done, self.mb = psutil.Process(), threading.Event(), 0.0
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.mb = max(self.mb, self._process.memory_info().rss / 2**20)
            if self._done.wait(0.02):
                return


def text_sources(config: Config) -> Iterator[TextSource]:
    """The text sources among a model's settings, also in those of the parts of a blend."""
    for value in config.__dict__.values():
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, TextSource):
                yield each
            elif isinstance(each, Config) and {"model", "settings"} <= each.__dict__.keys():
                part = each.__dict__
                yield from text_sources(model_class(part["model"]).Config.parse(part["settings"], part["model"]))


def fit(model: Recommender, split: Split, **options: Any) -> Recommender:
    """``model.fit`` with those of ``options`` (``progress``, ``log``, ``checkpoint``) that its family has."""
    known = inspect.signature(model._fit).parameters
    return model.fit(split, **{name: value for name, value in options.items() if name in known})


def chosen_on_validation(model: Model) -> dict[str, Any]:
    """What validation cases chose for a fitted model, as settings: a net's epochs, the weights of a blend."""
    if model.about.get("best_epoch"):
        return {"epochs": model.about["best_epoch"]}
    parts = []
    for (_, part), weight in zip(sorted(model.children().items()), model.about.get("weights", ()), strict=True):
        settings = part.config.model_dump(mode="json") | chosen_on_validation(part)
        parts.append({"model": part.name, "settings": settings, "weight": weight})
    return {"models": parts} if parts else {}


@dataclass(frozen=True)
class Trial:
    """A model with one seed under one tie rule, and where its files go in the run folder."""

    entry: ModelSettings
    ties: str
    seed: int
    split: Split
    evaluation: EvaluationSettings
    folder: Path

    @property
    def stem(self) -> str:
        return f"{self.entry.slug}--{self.ties}--{self.seed}"

    @property
    def key(self) -> tuple[str, str, int]:
        return self.entry.label, self.ties, self.seed

    @property
    def fitted(self) -> str:
        """Digest of everything on which the fitted model depends."""
        return self._fitted(self.entry.fit_on)

    @property
    def stopped(self) -> str:
        """The same of the fit that validation stops: of two fits the first, where the second is on its cases too."""
        return self._fitted("train")

    def _fitted(self, fit_on: str) -> str:
        entry = self.entry
        return _digest(
            seqlore=__version__,
            dataset=self.split.dataset.hash,
            split=self.split.how,
            model=entry.model,
            settings=entry.config.model_dump(mode="json"),
            fit_on=fit_on,
            seed=self.seed,
        )

    @property
    def judged(self) -> str:
        """Digest of everything on which the results depend."""
        return _digest(fitted=self.fitted, rules=self._rules)

    @property
    def _rules(self) -> dict[str, Any]:
        return self.evaluation.model_dump(exclude={"metric", "baseline"}, mode="json")

    def reusable(self, record: dict[str, Any]) -> bool:
        """The model of an earlier record may be judged by changed rules instead of being fitted again.

        One that was fitted on the validation cases cannot be judged on them any more, so it is fitted again.
        """
        kept = (self.folder / record["model_folder"] / "config.json").is_file()
        return record["fitted"] == self.fitted and self.entry.fit_on == "train" and kept

    def run(
        self,
        earlier: dict[str, Any] | None = None,
        progress: EpochProgress | None = None,
        stopped: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Fit, judge, keep; returns the record that the leaderboard is made from.

        Args: earlier: record whose model is judged anew instead. stopped: record of a trial whose model is that of
            ``self.stopped``, so that a row of "train+valid" has only its second fit to do.
        """
        gc.collect()  # so that what an earlier model left behind is not counted here
        with PeakMemory() as memory:
            if earlier is None:
                model, record = self._fit(progress, stopped)
            else:
                model, record = self._loaded(earlier)
            started = time.perf_counter()
            report = self._judge(model, "test")
            seconds = time.perf_counter() - started
        cases = self.folder / "cases" / f"{self.stem}.parquet"
        cases.parent.mkdir(exist_ok=True)
        report.per_case.write_parquet(cases)
        return {
            "label": self.entry.label,
            "ties": self.ties,
            "seed": self.seed,
            "fitted": self.fitted,
            "judged": self.judged,
            **record,
            "cases": f"cases/{self.stem}.parquet",
            "evaluate_seconds": seconds,
            "peak_memory_mb": max(memory.mb, record.get("peak_memory_mb", 0.0)),
            "metrics": report.metrics,
            "about": report.about,
        }

    def _loaded(self, record: dict[str, Any]) -> tuple[Recommender, dict[str, Any]]:
        """The model of a record, and what the record says of its fit; validation cases are judged by today's rules."""
        names = ("model_folder", "log", "epochs", "best_epoch", "parameters", "fit_seconds", "peak_memory_mb")
        model = load(self.folder / record["model_folder"])
        return model, {name: record[name] for name in names} | {"valid": self._judge_valid(model)}

    def _fit(
        self, progress: EpochProgress | None, stopped: dict[str, Any] | None
    ) -> tuple[Recommender, dict[str, Any]]:
        model, record = self._loaded(stopped) if stopped is not None else self._stop(progress)
        if self.entry.fit_on == "train+valid":
            started = time.perf_counter()
            again = self.entry.build(self.seed, **chosen_on_validation(model))
            model = fit(again, self.split.with_validation(), progress=progress)
            record["fit_seconds"] += time.perf_counter() - started
        record["model_folder"] = str(model.save(self.folder / "models" / self.stem).relative_to(self.folder))
        self.forget()
        return model, record

    def _stop(self, progress: EpochProgress | None) -> tuple[Recommender, dict[str, Any]]:
        """The fit that validation can stop."""
        log, checkpoint = self.folder / "logs" / f"{self.stem}.jsonl", self._checkpoint
        if not checkpoint.is_dir():
            log.unlink(missing_ok=True)  # of earlier settings
        started = time.perf_counter()
        model = fit(self.entry.build(self.seed), self.split, progress=progress, log=log, checkpoint=checkpoint)
        # A run that was killed and taken up again spent the time of its earlier epochs too.
        seconds = max(time.perf_counter() - started, sum(row["seconds"] for row in getattr(model, "history", [])))
        return model, {
            "log": str(log.relative_to(self.folder)) if log.is_file() else None,
            "epochs": model.about.get("epochs"),
            "best_epoch": model.about.get("best_epoch"),
            "parameters": model.about.get("parameters"),
            "fit_seconds": seconds,
            "valid": self._judge_valid(model),
        }

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoints" / f"{self.stem}-{self.fitted}"

    def forget(self) -> None:
        """Remove what an unfinished fit left behind, also one with earlier settings."""
        folder = self._checkpoint.parent
        for old in folder.glob(f"{self.stem}-*"):
            shutil.rmtree(old)
        with contextlib.suppress(OSError):  # others are still in it, or it was never made
            folder.rmdir()

    def _judge(self, model: Recommender, on: Literal["test", "valid"]) -> Report:
        return evaluate(model, self.split, on=on, name=self.entry.label, seed=self.seed, **self._rules)

    def _judge_valid(self, model: Recommender) -> dict[str, float]:
        """Metrics on the validation cases; none where the split has no such cases."""
        return self._judge(model, "valid").metrics if self.split.valid is not None and len(self.split.valid) else {}


def _digest(**parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]
