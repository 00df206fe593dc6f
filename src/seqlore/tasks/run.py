"""A task recipe carried out: every row is fitted on the one split and judged on the families that it can answer.

The run folder gets ``results.json`` (all figures, with the rules they were made by), ``results.csv`` (a line a row,
family, way of asking and metric, published figures beside ours), and a Parquet file of per-case values a row and seed.
Bodies that rows pretrain are kept in ``bodies``, fitted task models in ``models``, both by what made them.
"""

from __future__ import annotations

import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from seqlore.config import nearest
from seqlore.errors import ConfigError, SeqloreError
from seqlore.evaluation import holm, metrics, paired_test
from seqlore.experiment.data import open_dataset
from seqlore.experiment.journal import Journal, write_json
from seqlore.lore.locate import language_model
from seqlore.lore.model import Sampling
from seqlore.tasks.glm import TaskGLM
from seqlore.tasks.material import Material
from seqlore.tasks.model import TaskEvaluation, evaluate, sample
from seqlore.tasks.naming import Titles
from seqlore.tasks.recipe import Row, TaskRecipe, ZeroShotConfig
from seqlore.tasks.rows import digest, fit_digest, keep, kept
from seqlore.tasks.scores import Scores, list_scores, place_scores, rating_scores, text_scores
from seqlore.tasks.split import one_split
from seqlore.tasks.zeroshot import ZeroShot
from seqlore.version import __version__

Found = dict[str, dict[str, Scores]]


def run_tasks(
    recipe: TaskRecipe | str | Path,
    *,
    out: str | Path | None = None,
    set: Iterable[str] = (),
    only: Iterable[str] = (),
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Carry out a recipe; returns what ``results.json`` holds.

    A row that fails is kept with its error, and the others go on. Rows that the folder has already, made by the same
    settings on the same data, are not carried out again.

    Args: only: labels of the rows to carry out now; the others are told where the folder has them.

    Raises: ConfigError: the recipe is wrong, or has no such row. DataError: the data cannot be read, split, or asked.
    """
    recipe, only = recipe if isinstance(recipe, TaskRecipe) else TaskRecipe.load(recipe, set), list(only)
    labels = [row.name for row in recipe.models]
    if strange := [label for label in only if label not in labels]:
        raise ConfigError(f"there is no row {strange[0]!r} in {recipe.name}{nearest(strange[0], labels)}")
    folder = Path(out) if out is not None else Path("runs") / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    split = recipe.split.make(open_dataset(recipe.dataset), recipe.split.ties[0])
    tasks = one_split(split)
    material = Material(tasks, recipe.material)
    asked = {f: len(sample(material, f, recipe.evaluation)) for f in recipe.evaluation.families}
    journal = Journal(folder)
    rows: list[dict[str, Any]] = []
    cases: dict[str, list[Found]] = {}
    for row in recipe.models:
        for seed in recipe.seeds:
            key = digest(recipe, row, seed, split.dataset.hash)
            done = kept(folder, row, seed, key)
            if done is None and only and row.name not in only:
                continue
            made = folder / "models" / fit_digest(recipe, row, seed, split.dataset.hash)[:16]
            entry, found = done or _carried_out(recipe, row, seed, material, Home(made, folder / "bodies"), journal)
            entry |= {"label": row.name, "published": row.published}
            if done is None:
                keep(folder, row, seed, key, entry, found)
            rows.append(entry)
            cases.setdefault(row.name, []).append(found)
            if say is not None:
                took = "kept" if done else f"{entry['fit_seconds']:.0f} s"
                say(f"{row.name}, seed {seed}: {entry.get('error') or took}")
    result = {
        "name": recipe.name,
        "dataset": split.dataset.name,
        "dataset_hash": split.dataset.hash,
        "split": split.describe(),
        "left_out": tasks.left_out,
        "cases": asked,
        "rules": recipe.evaluation.model_dump(mode="json"),
        "material": recipe.material.model_dump(mode="json"),
        "handed_over": "explanation: stars, and the hint where asked; review: its text; all of the held-out event",
        "versions": {"seqlore": __version__, "torch": torch.__version__},
        "rows": rows,
        "tests": paired(cases, recipe.baseline),
        "published": [each.model_dump(mode="json") for each in recipe.published],
        "published_source": recipe.published_source,
    }
    (folder / "results.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    table(result).write_csv(folder / "results.csv")
    return result


class Home(NamedTuple):
    """Where what a row makes is kept. Attributes: model: folder of its fitted model. bodies: of pretrained bodies."""

    model: Path
    bodies: Path


def _carried_out(
    recipe: TaskRecipe, row: Row, seed: int, material: Material, home: Home, journal: Journal
) -> tuple[dict[str, Any], Found]:
    started, entry = time.perf_counter(), {"label": row.name, "model": row.model, "seed": seed}
    found: Found = {}
    try:
        found, seconds, told = judge(row, seed, material, recipe.evaluation, home)
        entry |= told
    except Exception as error:  # whatever one model does, the others go on
        entry["error"], seconds = _sentence(error), time.perf_counter() - started
        trace = traceback.format_exc()
        journal.write("failed", label=row.name, seed=seed, error=entry["error"], traceback=trace)
    return {**entry, "fit_seconds": round(seconds, 1), "families": _values(found)}, found


def _sentence(error: Exception) -> str:
    first = (str(error) or "no message").splitlines()[0]
    return first if isinstance(error, SeqloreError) else f"{type(error).__name__}: {first} (traceback in log.jsonl)"


def judge(
    row: Row, seed: int, material: Material, config: TaskEvaluation, home: Home | None = None
) -> tuple[Found, float, dict[str, Any]]:
    """(family → way of asking → scores, seconds of the fit, what else is to be told) of one row.

    It is judged on those of the asked families that it can answer. Told are ``cut``, the questions that were too long
    for it, by family, in training and when it was asked; and ``unread``, answers of a language model in which nothing
    was found.
    """
    model, tasks, started = row.build(seed), material.tasks, time.perf_counter()
    wanted = set(config.families)
    if row.kind == "zero":
        asked = _zero_shot(model, material)
        found = evaluate(asked, material, config)
        return found, time.perf_counter() - started, {"unread": asked.unread}
    if row.kind == "task":
        model, seconds = _fitted(model, material, home)
        families = tuple(f for f in config.families if model.config.mixture.ratios.get(f))
        found = evaluate(model, material, config.model_copy(update={"families": families})) if families else {}
        return found, seconds, {"cut": {"learned": model.learned_cut, "asked": dict(model.room.cut)}}
    family = {"rater": "rating", "direct": "direct", "explainer": "explanation", "recommender": "sequential"}[row.kind]
    if family not in wanted:
        return {}, 0.0, {}
    pairs = sample(material, family, config)  # type: ignore[arg-type]
    model.fit({"recommender": tasks.split, "explainer": material}.get(row.kind, tasks))
    seconds = time.perf_counter() - started
    if row.kind == "rater":
        return {family: {"": rating_scores(model.rate(pairs), tasks.ratings[pairs.rows])}}, seconds, {}
    if row.kind == "direct":
        listed = material.candidates(pairs, config.wrong, config.seed)
        return {family: {"": list_scores(model.score(pairs, listed), listed, pairs.items, config.at)}}, seconds, {}
    if row.kind == "explainer":
        right = [str(material.answer("explanation", item, r)) for _, item, r in pairs]
        way = "hint" if row.model == "PETERPlus" else ""
        return {family: {way: text_scores(model.write(pairs), right, words=material.words(family))}}, seconds, {}
    lists = model.rank(pairs.histories(), max(config.at))
    return {family: {"": place_scores(metrics.positions(lists.items, pairs.items), config.at)}}, seconds, {}


def _fitted(model: Any, material: Material, home: Home | None) -> tuple[Any, float]:
    """(a fitted task model, seconds that the fit took); taken from its folder where that has it already."""
    started = time.perf_counter()
    if home is None:
        return model.fit(material), time.perf_counter() - started
    told = home.model / "fit.json"
    if told.is_file():  # which is written last
        return type(model).load(home.model), json.loads(told.read_text())["seconds"]
    steps = home.model / "checkpoint"
    bodies = {"bodies": home.bodies} if isinstance(model, TaskGLM) else {}
    model.fit(material, checkpoint=steps, log=home.model / "log.jsonl", **bodies)
    model.save(home.model)
    write_json(told, {"seconds": (seconds := time.perf_counter() - started)})
    shutil.rmtree(steps, ignore_errors=True)
    return model, seconds


def _zero_shot(config: ZeroShotConfig, material: Material) -> ZeroShot:
    tasks = material.tasks
    try:
        default = round(float(tasks.ratings[tasks.train.rows].mean()))
    except SeqloreError:  # a set without stars; nobody will ask for them
        default = 3
    model = language_model(config.language_model, **config.options)
    naming = Titles.of(tasks.split, config.title_words, material.config.user_features)
    return ZeroShot(model, naming, default=default, sampling=Sampling(max_tokens=config.max_tokens))


def paired(cases: dict[str, list[Found]], baseline: str | None) -> list[dict[str, Any]]:
    """Every row against the baseline, case by case, seeds averaged: difference, interval, p by permutation, after Holm.

    A way of asking is compared with the same of the baseline; where only one of the two is asked by prompts, with its
    only one, or the prompt that was seen. A scrambled instruction is compared with the same words in order. The metric
    is the squared error of stars (of the expected value where there is one), NDCG at the largest cut-off, or ROUGE-L.
    Lists are compared with lists of as many: the right item is found more easily among 20 than among 100.
    """
    theirs, out = _per_case(cases.get(baseline or "", [])), []
    for label, found in cases.items():
        own = _per_case(found)
        for (family, way), (metric, mine, listed) in own.items():
            against = baseline
            other = theirs.get((family, way)) or theirs.get((family, "")) or theirs.get((family, way or "seen"))
            if way.endswith("scrambled"):
                against, other = f"{label}, in order", own.get((family, way.replace("scrambled", "unseen")))
            if label == against or other is None or other[2] != listed:
                continue
            interval, p, _ = paired_test(mine - other[1])
            out.append({"label": label, "baseline": against, "family": family, "way": way, "metric": metric,
                        "difference": float((mine - other[1]).mean()), "interval": list(interval), "p": p})  # fmt: skip
    for each, p in zip(out, holm([each["p"] for each in out]), strict=True):
        each["p_holm"] = float(p)
    return out


def _per_case(seeds: list[Found]) -> dict[tuple[str, str], tuple[str, np.ndarray, float | None]]:
    """(family, way) → (metric, its mean over seeds of each case, how many a list has); of seeds that did not fail."""
    gathered: dict[tuple[str, str], list[tuple[str, np.ndarray, float | None]]] = {}
    for found in seeds:
        for family, ways in found.items():
            for way, scores in ways.items():
                lists = sorted((m for m in scores.per_case if m.startswith("ndcg@")), key=lambda m: int(m[5:]))
                known = [m for m in ("squared_error_expected", "squared_error", *lists[-1:], "rougel")
                         if m in scores.per_case]  # fmt: skip
                if known:
                    told = (known[0], scores.per_case[known[0]], scores.values.get("listed"))
                    gathered.setdefault((family, way), []).append(told)
    return {
        key: (each[0][0], np.mean([values for _, values, _ in each], 0), each[0][2]) for key, each in gathered.items()
    }


def _values(found: Found) -> dict[str, dict[str, dict[str, float]]]:
    return {family: {way: each.values for way, each in ways.items()} for family, ways in found.items()}


def table(result: dict[str, Any]) -> pl.DataFrame:
    """label, family, way, metric, value (mean over seeds), sd, published; rows of the paper alone have no value."""
    gathered: dict[tuple[str, str, str, str], list[float]] = {}
    said: dict[tuple[str, str, str, str], float] = {}
    for row in result["rows"]:
        for family, ways in row["families"].items():
            for way, values in ways.items():
                for metric, value in values.items():
                    gathered.setdefault((row["label"], family, way, metric), []).append(value)
        said |= _said(row["label"], row["published"])
    for row in result["published"]:
        said |= _said(row["label"], row["values"])
    keys = [*gathered, *(k for k in said if k not in gathered)]
    lines = [
        (*k, *((float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else None) if (v := gathered.get(k)) else
               (None, None)), said.get(k))
        for k in keys
    ]  # fmt: skip
    texts: dict[str, Any] = dict.fromkeys(("label", "family", "way", "metric"), pl.String)
    kinds = texts | dict.fromkeys(("value", "sd", "published"), pl.Float64)
    return pl.DataFrame(lines, schema=kinds, orient="row")


def _said(label: str, values: dict[str, dict[str, float]]) -> dict[tuple[str, str, str, str], float]:
    out = {}
    for place, figures in values.items():
        family, _, way = place.partition(" ")
        out |= {(label, family, way, metric): value for metric, value in figures.items()}
    return out
