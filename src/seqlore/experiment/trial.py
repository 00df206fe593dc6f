"""One trial: a model with one seed, fitted on one split, judged, measured and kept."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import psutil
import torch

from seqlore.config import digest
from seqlore.data import Split
from seqlore.evaluation import Report, evaluate
from seqlore.experiment.contents import with_contents
from seqlore.experiment.recipe import EvaluationSettings, ModelSettings, text_sources
from seqlore.fitting import fit_options, fit_with
from seqlore.recommender import Model, Recommender, load, model_class
from seqlore.text import TextInit
from seqlore.training import TrainConfig
from seqlore.version import __version__

EpochProgress = Callable[[dict[str, Any]], None]


class PeakMemory:
    """What is needed while open, in MB: the process's base plus the rise of its resident set, sampled every 20 ms.

    The base is the resident set when the first one was opened: interpreter, libraries, data. What earlier models left
    behind is given back before, and what cannot be is not counted, so that a model's figure does not depend on those
    before it, except that a library counts for the first one that imports it. The kernel's own high-water mark only
    ever rises, so it could not tell the second model of a run from the first.

    Attributes: mb: at most so far. gpu_mb: the most that tensors held on the GPUs, after closing; None without one.
    """

    _base: ClassVar[float | None] = None

    def __enter__(self) -> Self:
        give_memory_back()
        self._process, self._done, self.gpu_mb = psutil.Process(), threading.Event(), None
        self._start = self._resident()
        if PeakMemory._base is None:
            PeakMemory._base = self._start
        self.mb = PeakMemory._base
        for device in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(device)
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        if count := torch.cuda.device_count():
            self.gpu_mb = sum(torch.cuda.max_memory_allocated(device) for device in range(count)) / 2**20

    def _resident(self) -> float:
        return self._process.memory_info().rss / 2**20

    def _sample(self) -> None:
        while True:
            self.mb = max(self.mb, (PeakMemory._base or 0.0) + self._resident() - self._start)
            if self._done.wait(0.02):
                return


class _Heap(ctypes.Structure):
    """glibc's ``struct mallinfo2``; ``fordblks`` is what it holds and nobody uses, in bytes."""

    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = tuple((name, ctypes.c_size_t) for name in _names)


def give_memory_back(worth: int = 2**27) -> None:
    """Free what nothing refers to, and return it to the system where the C library can (glibc).

    Args: worth: bytes held unused from which on that is asked for; it may take seconds, one call a free block.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library, or none that can be asked
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Heap
        if library.mallinfo2().fordblks >= worth:
            library.malloc_trim(0)


def chosen_on_validation(model: Model) -> dict[str, Any]:
    """What validation cases chose for a fitted model, as settings: a net's epochs, the weights of a blend."""
    if model.about.get("best_epoch"):
        chosen = {"epochs": model.about["best_epoch"]}
        if isinstance(model.config, TrainConfig) and model.config.schedule != "constant":
            chosen["schedule_epochs"] = model.config.schedule_epochs or model.config.epochs
        return chosen
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
        return digest(
            **self._drawn,
            seqlore=__version__,
            dataset=self.split.dataset.hash,
            split=self.split.how,
            model=entry.model,
            **with_contents(entry.config.model_dump(mode="json")),
            fit_on=fit_on,
            seed=self.seed,
        )

    @property
    def _drawn(self) -> dict[str, Any]:
        """What else a fit depends on, in the cases in which it does."""
        drawn: dict[str, Any] = {}
        if not self.evaluation.exclude_seen and "exclude_seen" in fit_options(model_class(self.entry.model)):
            drawn["exclude_seen"] = False
        if self.seed and any(isinstance(each, TextInit) and each.permute for each in text_sources(self.entry.config)):
            drawn["permuted_by"] = self.seed
        return drawn

    @property
    def judged(self) -> str:
        """Digest of everything on which the results depend."""
        return digest(fitted=self.fitted, rules=self._rules)

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
            "peak_gpu_memory_mb": memory.gpu_mb if earlier is None else earlier.get("peak_gpu_memory_mb"),
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
            chosen = chosen_on_validation(model)
            model, _, seconds = self.fit(self.split.with_validation(), progress, "train+valid", **chosen)
            record["fit_seconds"] += seconds
        record["model_folder"] = str(model.save(self.folder / "models" / self.stem).relative_to(self.folder))
        self.forget()
        return model, record

    def _stop(self, progress: EpochProgress | None) -> tuple[Recommender, dict[str, Any]]:
        """The fit that validation can stop."""
        model, log, seconds = self.fit(self.split, progress)
        return model, {
            "log": str(log.relative_to(self.folder)) if log.is_file() else None,
            "epochs": model.about.get("epochs"),
            "best_epoch": model.about.get("best_epoch"),
            "parameters": model.about.get("parameters"),
            "fit_seconds": seconds,
            "valid": self._judge_valid(model),
        }

    def fit(
        self, split: Split, progress: EpochProgress | None, again: str = "", **chosen: Any
    ) -> tuple[Recommender, Path, float]:
        """(the fitted model, its log, seconds). A fit that was killed goes on from its last epoch.

        Args: again: where it is not the first fit of this trial, on what. chosen: settings in place of the entry's.
        """
        name = f"{self.stem}--{again}" if again else self.stem
        log, checkpoint = self.folder / "logs" / f"{name}.jsonl", self._checkpoints / f"{name}-{self.fitted}"
        if not checkpoint.is_dir():
            for old in (log, *log.parent.glob(f"{name}-*.jsonl")):
                old.unlink(missing_ok=True)  # of earlier settings
        started = time.perf_counter()
        model = fit_with(
            self.entry.build(self.seed, **chosen),
            split,
            progress=progress,
            log=log,
            checkpoint=checkpoint,
            exclude_seen=self.evaluation.exclude_seen,
        )
        # A run that was killed and taken up again spent the time of its earlier epochs too.
        return model, log, max(time.perf_counter() - started, _seconds(model))

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def forget(self) -> None:
        """Remove what unfinished fits left behind, also those with earlier settings."""
        for old in self._checkpoints.glob(f"{self.stem}-*"):
            shutil.rmtree(old)
        with contextlib.suppress(OSError):  # others are still in it, or it was never made
            self._checkpoints.rmdir()

    def _judge(self, model: Recommender, on: Literal["test", "valid"]) -> Report:
        return evaluate(model, self.split, on=on, name=self.entry.label, seed=self.seed, **self._rules)

    def _judge_valid(self, model: Recommender) -> dict[str, float]:
        """Metrics on the validation cases; none where the split has no such cases."""
        return self._judge(model, "valid").metrics if self.split.valid is not None and len(self.split.valid) else {}


def _seconds(model: Model) -> float:
    """Of all epochs of a fitted model and of those inside it."""
    epochs = [*getattr(model, "pretraining_history", []), *getattr(model, "history", [])]
    return sum(row["seconds"] for row in epochs) + sum(map(_seconds, model.children().values()))
