"""A run folder as ``seqlore run`` would leave it, made up: for tests of the report, and to look at the page.

``python tests/report/fake_run.py FOLDER`` writes one, and its report.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

#: label, registered name, uses text, strength, wants popular targets, seeds, parameters, published NDCG@10 and HR@10
MODELS: list[tuple[str, str, bool, float, float, int, int | None, tuple[float, float] | None]] = [
    ("LLM2SASRec", "LLM2SASRec", True, 0.150, 0.3, 3, 905_000, None),
    ("LLM2BERT4Rec", "LLM2BERT4Rec", True, 0.135, 0.4, 3, 912_000, (0.041, 0.076)),
    ("LLM2GRU4Rec", "LLM2GRU4Rec", True, 0.110, 0.5, 3, 861_000, None),
    ("LLM2BERT4Rec, vectors permuted", "LLM2BERT4Rec", True, 0.070, 0.9, 3, 912_000, None),
    ("SASRec", "SASRec", False, 0.128, 0.7, 3, 887_000, (0.026, 0.051)),
    ("BERT4Rec <b>x</b> & $a_b$", "BERT4Rec", False, 0.105, 0.8, 3, 894_000, (0.034, 0.067)),
    ("GRU4Rec", "GRU4Rec", False, 0.098, 0.8, 3, 843_000, (0.027, 0.051)),
    ("V-SKNN", "VSKNN", False, 0.100, 0.5, 1, None, (0.041, 0.071)),
    ("LLMSeqSim", "LLMSeqSim", True, 0.085, 0.0, 1, None, (0.044, 0.063)),
    ("Markov", "Markov", False, 0.095, 0.2, 1, 120_400, None),
    ("MostPopular", "MostPopular", False, 0.013, 2.5, 1, 12_101, (0.005, 0.010)),
]
ITEMS, EPOCHS = 12_101, 30


def make_run(folder: Path, cases: int = 400, ties: tuple[str, ...] = ("file", "shuffled")) -> Path:
    """Write the run folder; every number in its leaderboard follows from its per-case files."""
    rng = np.random.default_rng(7)
    for name in ("cases", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    length = np.minimum(3 + rng.geometric(0.17, cases), 120).astype(np.int32)
    count = np.where(rng.random(cases) < 0.02, 0, rng.geometric(0.06, cases)).astype(np.int64)
    rows: list[dict[str, Any]] = []
    for rule in ties:
        for label, model, text, strength, popular, seeds, parameters, published in MODELS:
            runs, found = [], []
            ease = 1 + popular * (np.log1p(count) - 2) / 2 if not text else 1 + 0.15 * (np.log1p(count) - 2)
            chance = np.clip(strength * ease * (0.85 if rule == "shuffled" and not text else 1.0), 0.001, 0.9)
            for seed in range(seeds):
                hit = rng.random(cases) < chance * (1 + 0.02 * rng.standard_normal())
                rank = np.where(hit, np.minimum(rng.geometric(0.12, cases), 20), 0).astype(np.int32)
                stem = f"{model}-{len(rows)}--{rule}--{seed}"
                pl.DataFrame(
                    {
                        "case": np.arange(cases, dtype=np.int32),
                        "user_id": [f"u{i}" for i in range(cases)],
                        "target": [f"i{i}" for i in range(cases)],
                        "rank": pl.Series(rank).replace(0, None),
                        "tied": np.zeros(cases, bool),
                        "history_length": length,
                        "target_count": count,
                    }
                ).write_parquet(folder / "cases" / f"{stem}.parquet")
                log = f"logs/{stem}.jsonl" if parameters and seeds > 1 and label != "LLM2GRU4Rec" else None
                found.append(_metrics(rank, count, popular, text, rng))
                if log:
                    _write_log(folder / log, found[-1]["ndcg@10"], seed, rng)
                runs.append(
                    {
                        "seed": seed,
                        "model_folder": None,
                        "cases": f"cases/{stem}.parquet",
                        "log": log,
                        "epochs": EPOCHS if seeds > 1 else None,
                        "best_epoch": EPOCHS - 4 if seeds > 1 else None,
                    }
                )
            rows.append(
                _row(label, model, rule, found, runs, parameters=parameters, text=text)
                | {
                    "published": {"ndcg@10": published[0], "hr@10": published[1]} if published else {},
                    "published_source": "Harte et al. 2023, Table 2" if published else "",
                }
            )
        error = "S-SKNN: sample_size=0: Input should be greater than 0; set it in the recipe."
        rows.append(_row("S-SKNN", "SSKNN", rule, [], []) | {"error": error})
    board = {
        "name": "beauty-leave-one-out",
        "created": "2026-03-14 09:26",
        "seqlore": "0.1.0",
        "about": {
            "dataset": "amazon2014-beauty",
            "dataset_hash": "3f0c9a7712de5b40",
            "statistics": {
                "users": 22363,
                "items": 12101,
                "items_seen": 12101,
                "interactions": 198502,
                "density": 0.00073352,
                "repeated_share": 0.0,
                "per_user": {"mean": 8.876, "min": 5.0, "median": 6.0, "p99": 43.0, "max": 204.0},
                "per_item": {"mean": 16.404, "min": 5.0, "median": 9.0, "p99": 111.0, "max": 431.0},
                "time": {
                    "known_share": 1.0,
                    "first": "2002-06-12T00:00:00+00:00",
                    "last": "2014-07-23T00:00:00+00:00",
                    "span_days": 4424.0,
                    "tied_share": 0.5753,
                    "whole_days": True,
                },
                "rating": None,
                "text": {"items": {"title": 0.9994, "brand": 0.0, "categories": 1.0}, "interactions": {"review": 0.0}},
                "filters": [],
            },
            "seen_rule": "masked: never recommended again",
            "candidate_rule": "all 12,101 items",
            "machine": {"cpu": "a made-up processor", "cores": 2, "memory": "16 GB"},
            "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.0"},
        },
        "at": [5, 10, 20],
        "rows": rows,
        "comparisons": [c for rule in ties for c in _comparisons(rows, rule)],
        "winner": {"label": "LLM2SASRec", "ties": "file", "seed": 1},
    }
    (folder / "leaderboard.json").write_text(json.dumps(board, indent=1))
    (folder / "recipe.toml").write_text('name = "beauty-leave-one-out"\n\n[split]\nprotocol = "leave-one-out"\n')
    examples = [
        {
            "model": "LLM2SASRec",
            "history": ["Rosewater Toner 8oz", "Lip Shine, Mimosa", "<i>Sugar</i> Body Scrub 16 fl oz"],
            "recommendations": ["Coconut Body Butter", "Clay Mask", "Lip Balm, Honey", "Body Wash, 24 Ounce"],
            "target": "Clay Mask",
        },
        {"model": "V-SKNN", "history": ["Nail File"], "recommendations": ["Top Coat", "Base Coat"], "target": "Brush"},
    ]
    (folder / "examples.json").write_text(json.dumps(examples))
    return folder


def _metrics(
    rank: np.ndarray, count: np.ndarray, popular: float, text: bool, rng: np.random.Generator
) -> dict[str, float]:
    values: dict[str, float] = {"tied_targets": 0.0}
    for k in (5, 10, 20):
        hit = (rank > 0) & (rank <= k)
        values[f"hr@{k}"] = float(hit.mean())
        values[f"ndcg@{k}"] = float((hit / np.log2(np.maximum(rank, 1) + 1)).mean())
        values[f"mrr@{k}"] = values[f"map@{k}"] = float((hit / np.maximum(rank, 1)).mean())
        wide = (0.75 if text else 0.6) * np.exp(-popular) * (k / 20) ** 0.2
        values[f"coverage@{k}"] = float(max(0.001, wide * (1 + 0.03 * rng.standard_normal())))
        values[f"serendipity@{k}"] = float((hit & (count < 60)).mean())
        values[f"novelty@{k}"] = float(13.8 - 1.9 * popular + 0.02 * rng.standard_normal() + 0.005 * k)
    return values


def _row(label: str, model: str, ties: str, found: list[dict[str, float]], runs: list, **more: Any) -> dict[str, Any]:
    metrics = {}
    for key in found[0] if found else ():
        values = [f[key] for f in found]
        mean = float(np.mean(values))
        half = 1.96 * (max(mean * (1 - mean), 0) / 400) ** 0.5 * 0.6
        metrics[key] = {
            "mean": mean,
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            "best": max(values),
            "values": values,
            "ci": [max(mean - half, 0), mean + half],
        }
    net = len(found) > 1
    row = {
        "label": label,
        "model": model,
        "settings": {"embedding_size": 64, "dropout": 0.5, "layers": 2} if net else {},
    }
    row |= {"ties": ties, "split": {"protocol": "leave-one-out", "ties": ties, "seed": 0}, "fit_on": "train"}
    row |= {"seeds": list(range(len(found))), "metrics": metrics, "published": {}, "published_source": ""}
    row |= {"fit_seconds": 812.4 if net else 1.3, "evaluate_seconds": 2.1, "peak_memory_mb": 1240.0 if net else 610.0}
    return row | {"parameters": None, "text": False, "runs": runs, "error": None} | more


def _comparisons(rows: list[dict[str, Any]], ties: str) -> list[dict[str, Any]]:
    there = [r for r in rows if r["ties"] == ties and r["metrics"]]
    base = next(r for r in there if r["label"] == "SASRec")
    pairs = [(r, base) for r in there if r is not base]
    net = {r["label"]: r for r in there}
    pairs.append((net["LLM2BERT4Rec"], net["BERT4Rec <b>x</b> & $a_b$"]))
    return [
        {
            "a": a["label"],
            "b": b["label"],
            "ties": ties,
            "metric": "ndcg@10",
            "difference": (d := a["metrics"]["ndcg@10"]["mean"] - b["metrics"]["ndcg@10"]["mean"]),
            "ci": [d - 0.004, d + 0.004],
            "p": (p := float(np.exp(-abs(d) * 900))),
            "p_adjusted": min(1.0, p * len(pairs)),
            "correction": "holm",
            "test": "paired permutation over cases",
        }
        for a, b in pairs
    ]


def _write_log(path: Path, end: float, seed: int, rng: np.random.Generator) -> None:
    lines = []
    for epoch in range(1, EPOCHS + 1):
        value = end * 1.1 * (1 - np.exp(-epoch / (6 + seed))) + 0.0006 * rng.standard_normal()
        lines.append({"epoch": epoch, "train_loss": 8 / epoch, "valid": {"ndcg@10": max(value, 0)}, "seconds": 20.1})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")


if __name__ == "__main__":
    from seqlore.report import write_report

    print(write_report(make_run(Path(sys.argv[1]), cases=int((*sys.argv, "22363")[2]))))
