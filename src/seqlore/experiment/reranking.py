"""``run_pairs``: a reranking recipe → fitted pairs and one table; may be killed at any time and started again.

A pair (backbone, augmentation, seed) is a folder of its own below ``pairs/``, finished once ``pair.json`` stands in it.
Pairs with phases start from the fitted pair of their backbone without augmentation, which is fitted first. Models are
compared over users: their cases are averaged first, since several cases of one user are not independent.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.config import nearest
from seqlore.data import Split
from seqlore.errors import ConfigError, SeqloreError
from seqlore.evaluation import Report, evaluate
from seqlore.evaluation.candidates import SampledCases
from seqlore.evaluation.paired import holm, paired_test
from seqlore.experiment.data import open_dataset
from seqlore.experiment.journal import write_json, write_text
from seqlore.experiment.pairs import Backbone, Column, PairRecipe
from seqlore.experiment.screen import Screen
from seqlore.models.popular import MostPopular
from seqlore.rerank.augment import NoAugmentation
from seqlore.rerank.candidates import CandidateSource
from seqlore.rerank.ranker import NetReranker
from seqlore.rerank.reranker import Reranker
from seqlore.version import __version__

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A pair with one seed, and its folder."""

    recipe: PairRecipe
    backbone: Backbone
    column: Column
    seed: int
    split: Split
    root: Path

    @property
    def label(self) -> str:
        return f"{self.backbone.label} · {self.column.label}"

    @property
    def folder(self) -> Path:
        slug = re.sub(r"[^\w.+-]+", "-", f"{self.backbone.label}--{self.column.label}--{self.seed}")
        return self.root / "pairs" / slug

    @property
    def digest(self) -> str:
        """Of everything on which the result depends."""
        parts = {
            "seqlore": __version__,
            "dataset": self.split.dataset.hash,
            "split": self.split.how,
            "candidates": self.recipe.candidates.model_dump(mode="json"),
            "at": self.recipe.evaluation.at,
            "model": self.backbone.model,
            "settings": self.recipe.model(self.backbone, self.column, self.seed).config.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any] | None:
        """What a finished run of these settings found."""
        path = self.folder / "pair.json"
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return found if found and found["digest"] == self.digest else None

    def run(self, source: CandidateSource, cases: SampledCases, base: Pair | None, screen: Screen) -> None:
        """Fit, judge, keep. An unfinished fit of the same settings goes on where it was."""
        unfinished = self.folder / f"unfinished-{self.digest}"
        if self.folder.is_dir() and not unfinished.is_dir():
            shutil.rmtree(self.folder)  # of other settings
        unfinished.mkdir(parents=True, exist_ok=True)
        model = self.recipe.model(self.backbone, self.column, self.seed)
        options: dict[str, Any] = {"progress": screen.epoch, "log": self.folder / "log.jsonl"}
        options["checkpoint"] = unfinished / "net"
        if base is not None and base.record() is not None and base is not self:
            options["base"] = NetReranker.load(base.folder / "model")
        started = time.perf_counter()
        model.fit(self.split, source, **options)
        seconds = time.perf_counter() - started
        report = evaluate(model, self.split, cases=cases, at=self.recipe.evaluation.at, name=self.label, seed=self.seed)
        report.save(self.folder / "report")
        model.save(self.folder / "model")
        about = {key: model.about[key] for key in ("epochs", "best_epoch", "valid", "parameters", "seconds_per_epoch")}
        shutil.rmtree(unfinished)
        record = {"digest": self.digest, "label": self.label, "seed": self.seed, "fit_seconds": seconds, **about}
        write_json(self.folder / "pair.json", {**record, "metrics": report.metrics})

    def report(self) -> Report:
        return Report.load(self.folder / "report")


def run_pairs(
    recipe: PairRecipe | str | Path,
    *,
    out: str | Path | None = None,
    set: Iterable[str] = (),
    only: Sequence[str] = (),
    resume: bool = True,
    progress: bool = False,
) -> dict[str, Any]:
    """Carry out a reranking recipe; returns what ``results.json`` in the run folder holds.

    Args:
        out: the run folder; default ``runs/NAME``.
        only: labels of backbones, augmentations or pairs ("PRM · UR4Rec") to work on; finished others stay in it.
        resume: leave out pairs that the folder holds with the same settings.

    A pair that fails becomes a row with its error. Raises: ConfigError: the recipe is wrong. DataError: the data is.
    """
    recipe = recipe if isinstance(recipe, PairRecipe) else PairRecipe.load(recipe, set)
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    with Screen(progress) as screen:
        dataset = open_dataset(recipe.dataset)
        split = recipe.split.make(dataset, recipe.split.ties[0])
        source = recipe.candidates.source().fitted(split)
        cases = source.asked(split.test, (recipe.candidates.seed, 7))
        write_text(folder / "recipe.toml", recipe.to_toml())
        every = [Pair(recipe, b, c, seed, split, folder) for seed in recipe.seeds for b, c in recipe.pairs()]
        wanted = _wanted(every, only)
        todo = [pair for pair in wanted if pair.record() is None or not resume]
        screen.trials(len(todo))
        errors: dict[str, str] = {}
        for pair in todo:
            screen.begin(name := f"{pair.label} · seed {pair.seed}")
            if not resume:
                shutil.rmtree(pair.folder, ignore_errors=True)
            try:
                pair.run(source, cases, _base(pair, every), screen)
            except SeqloreError as error:
                errors[pair.label] = str(error)
                screen.end(f"{name}: failed: {error}")
                continue
            screen.end(f"{name}: {recipe.evaluation.metric} {pair.report().metrics[recipe.evaluation.metric]:.4f}")
        popular = evaluate(MostPopular().fit(split), split, cases=cases, at=recipe.evaluation.at)
        results = _results(recipe, [pair for pair in every if pair.record()], popular, errors)
        write_json(folder / "results.json", results)
        return results


def _base(pair: Pair, every: Sequence[Pair]) -> Pair | None:
    """The pair of the same backbone and seed without augmentation."""
    if pair.column.name == NoAugmentation.__name__:
        return None
    plain = (p for p in every if p.column.name == NoAugmentation.__name__)
    return next((p for p in plain if (p.backbone, p.seed) == (pair.backbone, pair.seed)), None)


def _wanted(every: Sequence[Pair], only: Sequence[str]) -> list[Pair]:
    known = {label for p in every for label in (p.label, p.backbone.label, p.column.label)}
    for label in only:
        if label not in known:
            raise ConfigError(f"--only {label}: no such backbone, augmentation or pair{nearest(label, known)}")
    return [p for p in every if not only or {p.label, p.backbone.label, p.column.label} & {*only}]


def _results(recipe: PairRecipe, done: Sequence[Pair], popular: Report, errors: dict[str, str]) -> dict[str, Any]:
    """The table and the comparisons."""
    metrics = [f"{kind}@{k}" for kind in ("map", "ndcg") for k in recipe.evaluation.at]
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in done:
        groups.setdefault((pair.backbone.label, pair.column.label), []).append(pair)
    pace = {key: _mean([p.record()["seconds_per_epoch"] for p in group]) for key, group in groups.items()}  # type: ignore[index]
    plain = {p.backbone.label: p.column.label for p in done if p.column.name == NoAugmentation.__name__}
    rows = []
    for (backbone, column), group in groups.items():
        reports = [pair.report() for pair in group]
        base = pace.get((backbone, plain.get(backbone, "")))
        rows.append(
            {
                "backbone": backbone,
                "augmentation": column,
                "seeds": [pair.seed for pair in group],
                "metrics": {m: _mean([r.metrics[m] for r in reports]) for m in metrics},
                "sd": {m: float(np.std([r.metrics[m] for r in reports], ddof=1)) for m in metrics}
                if len(group) > 1
                else None,
                "published": recipe.published.of(backbone, column),
                "seconds_per_epoch": pace[backbone, column],
                "epoch_times_base": None if not base else round(pace[backbone, column] / base, 2),
            }
        )
    return {
        "name": recipe.name,
        "candidates": popular.about["candidates"],
        "protocol": popular.about["protocol"],
        "cases": len(popular),
        "popularity": {m: popular.metrics[m] for m in metrics},
        "rows": rows,
        "comparisons": _comparisons(recipe, groups),
        "errors": errors,
    }


def _comparisons(recipe: PairRecipe, groups: dict[tuple[str, str], list[Pair]]) -> list[dict[str, Any]]:
    """Each pair with those of its backbone that ``against`` names; Holm over all of them together."""
    metric, found = recipe.evaluation.metric, []
    values = {key: by_user([pair.report() for pair in group], metric) for key, group in groups.items()}
    for against in recipe.evaluation.against:
        for backbone, column in groups:
            mirrored = column in recipe.evaluation.against[: recipe.evaluation.against.index(against)]
            if column == against or mirrored or (backbone, against) not in groups:
                continue
            difference = values[backbone, column] - values[backbone, against]
            interval, p, _ = paired_test(difference)
            found.append(
                {
                    "backbone": backbone,
                    "a": column,
                    "b": against,
                    "metric": metric,
                    "difference": float(difference.mean()),
                    "ci": interval,
                    "p": p,
                    "users": len(difference),
                }
            )
    for each, corrected in zip(found, holm([each["p"] for each in found]), strict=True):
        each["p_holm"] = float(corrected)
    return found


def by_user(reports: Sequence[Report], metric: str) -> Floats:
    """The metric of each user, averaged over the user's cases and over reports (seeds); users in the order of ids."""
    frames = [
        pl.DataFrame({"user": report.per_case["user_id"], "value": report.case_metric(metric)}) for report in reports
    ]
    return pl.concat(frames).group_by("user").agg(pl.col("value").mean()).sort("user")["value"].to_numpy()


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def model_of(folder: str | Path, label: str, seed: int = 0) -> Reranker:
    """A fitted pair of a run folder. Raises: ConfigError: there is none of that label and seed; names the nearest."""
    found = {}
    for path in sorted(Path(folder).glob("pairs/*/pair.json")):
        head = json.loads(path.read_text(encoding="utf-8"))
        found[f"{head['label']} · seed {head['seed']}"] = path.parent / "model"
    name = f"{label} · seed {seed}"
    if name not in found:
        raise ConfigError(f"{folder}: no finished pair {name!r}{nearest(name, found)}")
    return Reranker.load(found[name])
