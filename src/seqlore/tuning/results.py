"""What a study folder tells: ``trials.parquet`` and ``.csv``, ``summary.json``, and ``best.toml``, a recipe to run."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from seqlore.config import plain
from seqlore.experiment.journal import write_json, write_text
from seqlore.experiment.overrides import merged
from seqlore.experiment.recipe import Recipe
from seqlore.tuning.sampling import ERROR, killed, place
from seqlore.tuning.settings import Search

NAMES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def ended(study: Study) -> list[FrozenTrial]:
    """The trials that ended by themselves, by number; those that a kill cut short are done anew and not among them."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and not killed(t)]


def best_of(trials: list[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial of the highest value; the earliest of several. None where none is complete."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    return max(complete, key=lambda t: (t.value, -t.number), default=None)


def table(study: Study, folds: int) -> pl.DataFrame:
    """One line a trial that ended: place, state, value, folds, cost, the settings that were tried, error."""
    lines = []
    for trial in ended(study):
        told = trial.user_attrs.get("folds", [])
        line = {"trial": place(study, trial), "state": NAMES[trial.state], "value": trial.value}
        line["value"] = trial.value if trial.state == TrialState.COMPLETE else None
        line |= {f"fold {i + 1}": told[i]["value"] if i < len(told) else None for i in range(folds)}
        line |= {"seconds": sum(each["seconds"] for each in told)}
        line |= {"epochs": _longest(told, "epochs"), "parameters": _longest(told, "parameters")}
        line |= {"started": _iso(trial.datetime_start), **_flat(trial.user_attrs.get("settings", {}))}
        lines.append(line | {"error": trial.user_attrs.get(ERROR)})
    return pl.DataFrame(lines, infer_schema_length=None)


def write_tables(study: Study, folds: int, folder: Path) -> None:
    """``trials.parquet`` and ``trials.csv``, each in one step, whichever worker does it."""
    frame = table(study, folds)
    part = folder / f"trials.{os.getpid()}.part"
    frame.write_parquet(part)
    os.replace(part, folder / "trials.parquet")
    frame.write_csv(part)
    os.replace(part, folder / "trials.csv")


def summary(study: Study, recipe: Recipe, search: Search, folds: int, reason: str) -> dict[str, Any]:
    """What came of a search, as :class:`TuneResult` and ``summary.json`` hold it; best is None where no trial ended."""
    trials = ended(study)
    entry, best = recipe.models[0], best_of(trials)
    counts = Counter(NAMES[t.state] for t in trials)
    return {
        "model": entry.model,
        "label": entry.label,
        "metric": search.metric,
        "folds": folds,
        "trials": {name: counts[name] for name in NAMES.values()},
        "seed": search.seed,
        "model_seed": recipe.seeds_of(entry)[0],
        "starts": search.starts,
        "seconds": sum(each["seconds"] for t in trials for each in t.user_attrs.get("folds", [])),
        "ended_by": reason,
        "best": None
        if best is None
        else {
            "trial": place(study, best),
            "value": best.value,
            "folds": [each["value"] for each in best.user_attrs["folds"]],
            "settings": best.user_attrs["settings"],
        },
    }


def write_results(told: dict[str, Any], recipe: Recipe, folder: Path) -> None:
    """``summary.json`` and, where a trial is complete, ``best.toml``: the row as it came and as it was tuned."""
    write_json(folder / "summary.json", told)
    best = told["best"]
    if best is None:
        return
    rows = plain(recipe, None)
    row = rows["models"][0]
    tuned = {**row, "label": f"{row['label']} (tuned)", "settings": merged(row["settings"], best["settings"])}
    rows |= {"name": f"{recipe.name}-tuned", "models": [row, tuned]}
    rows["evaluation"] = {**rows["evaluation"], "baseline": row["label"]}
    counts = ", ".join(f"{n} {name}" for name, n in told["trials"].items() if n)
    told_by = f"{told['metric']} {best['value']:.4f} averaged over {told['folds']} validation fold(s)"
    lines = [
        f"# {row['label']} as it came, and as trial {best['trial']} of {counts} has it: {told_by}.",
        f"# Settings drawn with seed {told['seed']}, models with seed {told['model_seed']}; the test part was unseen.",
    ]
    text = Recipe.parse(rows, "best.toml").to_toml()
    write_text(folder / "best.toml", "\n".join(lines) + "\n\n" + text)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: _cell(value)}
    return out


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)


def _longest(told: list[dict[str, Any]], name: str) -> int | None:
    return max((each[name] for each in told if each[name] is not None), default=None)


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat(timespec="seconds")
