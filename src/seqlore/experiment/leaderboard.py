"""The leaderboard of a run: rows with mean, spread and interval of every metric, paired tests, and the winner."""

from __future__ import annotations

import os
import platform
import statistics as stats
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import torch
from numpy.typing import NDArray

from seqlore.data import Dataset
from seqlore.data.statistics import statistics
from seqlore.evaluation import Report, compare_all, parse_metric, summarise
from seqlore.experiment.journal import Key, now, write_json, write_text
from seqlore.experiment.recipe import Recipe, text_sources
from seqlore.experiment.trial import Trial
from seqlore.version import __version__

Outcome = list[tuple[Trial, dict[str, Any]]]
Floats = NDArray[np.float64]


def build(recipe: Recipe, dataset: Dataset, outcome: Outcome, folder: Path) -> dict[str, Any]:
    """``leaderboard.json`` as a dict.

    Args: outcome: each trial with its record, or with ``{"error": sentence}``.
    """
    metric, rows, comparisons = recipe.evaluation.metric, [], []
    for ties in recipe.split.ties:
        groups: dict[str, Outcome] = {}
        for trial, record in outcome:
            if trial.ties == ties:
                groups.setdefault(trial.entry.label, []).append((trial, record))
        reports = {label: _reports(group, folder) for label, group in groups.items()}
        part = [_row(recipe, group, reports[label]) for label, group in groups.items()]
        rows += sorted(part, key=lambda row: -row["metrics"].get(metric, {}).get("mean", -1.0))
        comparisons += _comparisons(recipe, ties, reports)
    return {
        "name": recipe.name,
        "created": now(),
        "seqlore": __version__,
        "about": _about(recipe, dataset, outcome),
        "at": sorted(recipe.evaluation.at),
        "rows": rows,
        "comparisons": comparisons,
        "winner": _winner(recipe, outcome),
    }


def _reports(group: Outcome, folder: Path) -> list[Report]:
    """The reports of a row's seeds that ended, with their cases read back."""
    return [
        Report(trial.entry.label, record["metrics"], pl.read_parquet(folder / record["cases"]), record["about"])
        for trial, record in group
        if "error" not in record
    ]


def _intervals(reports: list[Report]) -> dict[str, tuple[float, float]]:
    """Metric → 95 % interval of the mean over cases, seeds averaged; coverage, which no case has, has none."""
    names = [name for name in reports[0].metrics if "@" in name and parse_metric(name)[0] != "coverage"]
    values = [np.mean([report.case_metric(name) for report in reports], axis=0) for name in names]
    spans = bootstrap(np.stack(values, axis=1))
    return {name: (float(low), float(high)) for name, (low, high) in zip(names, spans, strict=True)}


def bootstrap(values: Floats, *, samples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Floats:
    """Percentile bootstrap intervals of column means (Efron & Tibshirani, 1993, chapter 13): float64 [m, 2].

    All columns are drawn together, so that a sample costs one matrix product.

    Args: values: [n, m], one row a case.
    """
    n, rng = len(values), np.random.default_rng(seed)
    means = np.empty((samples, values.shape[1]))
    for start in range(0, samples, 64):
        stop = min(start + 64, samples)
        drawn = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(start, stop)])
        means[start:stop] = drawn @ values / n
    return np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0).T


def _comparisons(recipe: Recipe, ties: str, reports: dict[str, list[Report]]) -> list[dict[str, Any]]:
    """Every row against the baseline, Holm-corrected over the rows of one tie rule."""
    baseline, metric = recipe.evaluation.baseline, recipe.evaluation.metric
    there = [report for group in reports.values() for report in group]
    if baseline is None or not reports.get(baseline) or len({report.model for report in there}) < 2:
        return []
    return [
        {
            "a": c.a,
            "b": c.b,
            "ties": ties,
            "metric": metric,
            "difference": c.mean_difference,
            "ci": c.ci,
            "p": c.p_permutation,
            "p_adjusted": c.p_corrected,
            "correction": c.correction,
            "test": f"paired permutation over {c.n:,} cases, seeds averaged",
        }
        for c in compare_all(there, against=baseline, metric=metric)
    ]


def _row(recipe: Recipe, group: Outcome, reports: list[Report]) -> dict[str, Any]:
    trial, entry = group[0][0], group[0][0].entry
    records = [record for _, record in group if "error" not in record]
    errors = [f"seed {t.seed}: {r['error']}" if len(group) > 1 else r["error"] for t, r in group if "error" in r]
    published = entry.published if trial.ties == "file" else {}
    return {
        "label": entry.label,
        "model": entry.model,
        "settings": {k: v for k, v in entry.config.model_dump(mode="json").items() if k != "seed"},
        "ties": trial.ties,
        "split": dict(trial.split.how),
        "fit_on": entry.fit_on,
        "seeds": [record["seed"] for record in records],
        "metrics": _metrics(reports, recipe.evaluation.metric),
        "valid": _validation(records),
        "published": published,
        "published_source": recipe.published_source if published else None,
        "published_best": recipe.published_best and bool(published),
        "fit_seconds": _mean(records, "fit_seconds"),
        "evaluate_seconds": _mean(records, "evaluate_seconds"),
        "peak_memory_mb": max((r["peak_memory_mb"] for r in records), default=None),
        "peak_gpu_memory_mb": max((r.get("peak_gpu_memory_mb") or 0.0 for r in records), default=0.0) or None,
        "parameters": records[0]["parameters"] if records else None,
        "text": any(True for _ in text_sources(entry.config)),
        "runs": [
            {name: record[name] for name in ("seed", "model_folder", "cases", "log", "epochs", "best_epoch")}
            for record in records
        ],
        "error": "; ".join(errors) or None,
    }


def _metrics(reports: list[Report], best_by: str) -> dict[str, dict[str, Any]]:
    if not reports:
        return {}
    summary, spans = summarise(reports, best_by), _intervals(reports)
    return {
        name: {
            "mean": mean,
            "sd": summary.sd[name] if len(reports) > 1 else None,
            "best": summary.best[name],
            "values": [report.metrics[name] for report in reports],
            "ci": spans.get(name),
        }
        for name, mean in summary.mean.items()
    }


def _validation(records: list[dict[str, Any]]) -> dict[str, float]:
    """Means over seeds of the metrics on validation cases; none where the split has no such cases."""
    return {name: stats.fmean(r["valid"][name] for r in records) for name in (records[0]["valid"] if records else ())}


def _mean(records: list[dict[str, Any]], name: str) -> float | None:
    return stats.fmean(record[name] for record in records) if records else None


def _winner(recipe: Recipe, outcome: Outcome) -> dict[str, Any] | None:
    """The row that is best on validation cases, averaged over seeds and tie rules; and of it, under the first tie rule
    of the recipe, the best seed. None where nothing was validated.

    Only rows that ended under every tie rule and seed take part, or a failure could flatter a mean.
    """
    metric, values = recipe.evaluation.metric, {}
    for trial, record in outcome:
        values.setdefault(trial.entry.label, []).append(record.get("valid", {}).get(metric))
    scored = {label: stats.fmean(each) for label, each in values.items() if None not in each}
    if not scored:
        return None
    label = max(scored, key=scored.__getitem__)
    runs = [r for t, r in outcome if t.entry.label == label and t.ties == recipe.split.ties[0]]
    best = max(runs, key=lambda record: record["valid"][metric])
    chosen = {name: best[name] for name in ("label", "ties", "seed", "model_folder")}
    return {**chosen, "metric": f"validation {metric}, mean over seeds and tie rules", "value": scored[label]}


def key(record: dict[str, Any]) -> Key:
    """(label, ties, seed) of a record, or of the winner."""
    return record["label"], record["ties"], record["seed"]


def _about(recipe: Recipe, dataset: Dataset, outcome: Outcome) -> dict[str, Any]:
    """Everything on which the figures depend, and where they were made."""
    numbers = statistics(dataset)
    told = next((record["about"] for _, record in outcome if "about" in record), {})
    splits = list(dict.fromkeys(trial.split.describe() for trial, _ in outcome))
    names = ("users", "items", "items_seen", "interactions", "density", "time", "filters")
    return {
        "dataset": dataset.name,
        "dataset_hash": dataset.hash,
        "statistics": {name: numbers[name] for name in names} | {"interactions per user": numbers["per_user"]["mean"]},
        "protocol": "; ".join(splits),
        "seen_rule": "left out of the lists" if recipe.evaluation.exclude_seen else "may be listed again",
        "candidate_rule": told.get("candidates", recipe.evaluation.candidates),
        "tie_in_score_rule": told.get("ties", ""),
        "popularity": told.get("popularity", ""),
        "peak_memory": "resident set before the first model, plus the rise while fitting and evaluating, "
        "sampled every 20 ms; on a GPU, the most that tensors held there",
        "machine": machine(),
        "versions": {name: version(name) for name in ("torch", "numpy", "polars", "scikit-learn", "accelerate")}
        | {"python": platform.python_version()},
    }


def machine() -> str:
    """Processor, cores, threads and memory of this machine, in one line."""
    memory = psutil.virtual_memory().total / 2**30
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    parts = [_processor(), f"{os.cpu_count()} cores", f"{torch.get_num_threads()} threads", f"{memory:.0f} GiB", *gpus]
    return ", ".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def flat(board: dict[str, Any]) -> pl.DataFrame:
    """One line a row and tie rule: label, ties, seeds, each metric with its s.d., published values, cost, error."""
    lines = []
    for row in board["rows"]:
        line = {name: row[name] for name in ("label", "model", "ties", "fit_on")} | {"seeds": len(row["seeds"])}
        for name, metric in row["metrics"].items():
            line |= {name: metric["mean"], f"{name} sd": metric["sd"], f"{name} best": metric["best"]}
            line |= {f"{name} published": row["published"][name]} if name in row["published"] else {}
        names = ("fit_seconds", "evaluate_seconds", "peak_memory_mb", "peak_gpu_memory_mb", "parameters", "error")
        lines.append(line | {name: row[name] for name in names})
    return pl.DataFrame(lines, infer_schema_length=None)


def write(board: dict[str, Any], folder: Path) -> None:
    """``leaderboard.json`` and ``leaderboard.csv``, each in one step."""
    write_json(folder / "leaderboard.json", board)
    write_text(folder / "leaderboard.csv", flat(board).write_csv())
