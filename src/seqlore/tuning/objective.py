"""What a trial is worth: a metric averaged over the validation folds. The test part is taken away beforehand."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Cases, Split
from seqlore.errors import DataError
from seqlore.evaluation import evaluate, parse_metric
from seqlore.experiment.recipe import EvaluationSettings, ModelSettings
from seqlore.fitting import fit_with


@dataclass(frozen=True, eq=False)
class Fold:
    """What a model is fitted on and, as part ``on`` of the same split, asked."""

    split: Split
    on: Literal["valid", "test"]


def validation_folds(split: Split) -> list[Fold]:
    """The folds of a split, each without anything of its test part.

    Temporal sessions have forward-chained folds, whose own last bin is asked while a sample of the earlier ones stops
    a net. The other protocols have one set of validation cases, which then does both.

    Raises: DataError: there are no validation cases, a fold is empty, or a fold holds a test interaction.
    """
    if split.folds:
        folds = [Fold(fold, "test") for fold in split.folds]
    elif split.how.get("protocol") == "temporal sessions":
        raise DataError("split.folds = 0 leaves no folds to tune on: set split.folds=3")
    else:
        folds = [Fold(replace(split, test=None), "valid")]
    hidden = np.zeros(0, np.int64) if split.test is None else _rows(split.test.rows)
    for i, fold in enumerate(folds, start=1):
        asked = fold.split.test if fold.on == "test" else fold.split.valid
        name = f"validation fold {i} of {len(folds)}"
        if asked is None or not len(asked):
            raise DataError(f"{name} has no cases to judge by: use more data, or fewer folds (split.folds)")
        if not len(fold.split.train.items):
            raise DataError(f"{name} has nothing to learn from: use more data, or fewer folds (split.folds)")
        if np.isin(hidden, _all_rows(fold.split)).any():
            raise DataError(f"{name} holds interactions of the test part, so nothing may be tuned on it")
    return folds


def _all_rows(split: Split) -> NDArray[np.int64]:
    parts: list[Cases] = [cases for cases in (split.valid, split.test) if cases is not None]
    told = [_rows(rows) for cases in parts for rows in (cases.rows, cases.histories.rows)]
    return np.concatenate([_rows(split.train.rows), *told])


def _rows(rows: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.zeros(0, np.int64) if rows is None else rows


def judge(
    entry: ModelSettings,
    settings: Mapping[str, Any],
    fold: Fold,
    *,
    seed: int,
    metric: str,
    evaluation: EvaluationSettings,
) -> dict[str, Any]:
    """Fit the model of ``entry`` with ``settings`` on a fold and ask it.

    Returns: value (of the metric), seconds (of the fit), epochs (that validation chose, or None), parameters (or None).
    """
    model = entry.model_copy(update={"settings": dict(settings)}).build(seed)
    started = time.perf_counter()
    fit_with(model, fold.split, exclude_seen=evaluation.exclude_seen)
    seconds = time.perf_counter() - started
    rules = evaluation.model_dump(include={"exclude_seen", "candidates"})
    report = evaluate(model, fold.split, on=fold.on, at=(parse_metric(metric)[1],), **rules)
    told = {
        "value": report.metrics[metric],
        "seconds": round(seconds, 3),
        "epochs": model.about.get("best_epoch"),
        "parameters": model.about.get("parameters"),
    }
    del model
    if seconds > 1:
        gc.collect()  # a net and its optimiser hold each other; the next one needs the room
    return told
