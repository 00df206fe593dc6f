"""A catalogue of one million items: training speed with sampled softmax, search, and memory.

    python benchmarks/million.py [--items 1000000] [--sequences 60000]

The sequences are drawn from a long-tailed law, with a first-order rule in them so that there is something to learn.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import polars as pl
import torch

from seqlore.data import Dataset, leave_one_out
from seqlore.models import SASRec  # type: ignore[attr-defined]


def world(items: int, sequences: int, seed: int = 0) -> Dataset:
    """Random walks: an item is followed by its fixed successor half of the time, else by a draw from a Zipf law."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, sequences)
    user = np.repeat(np.arange(sequences), lengths)
    popular = np.minimum((items * rng.random(len(user)) ** 3).astype(np.int64), items - 1)
    successor = rng.permutation(items)
    item = popular.copy()
    for i in range(1, len(item)):
        if user[i] == user[i - 1] and rng.random() < 0.5:
            item[i] = successor[item[i - 1]]
    frame = pl.DataFrame({"user_id": user, "item_id": item, "timestamp": np.arange(len(user))}).with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")
    )
    every = pl.DataFrame({"item_id": [f"i{i}" for i in range(items)]})
    return Dataset.from_frames(frame, every)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--sequences", type=int, default=30_000)
    parser.add_argument("--epochs", type=int, default=2)
    args = parser.parse_args()
    split = leave_one_out(world(args.items, args.sequences))
    model = SASRec(epochs=args.epochs, negatives=1024, valid_cases=256, max_length=30)
    rows: list[dict] = []
    model.fit(split, progress=rows.append)
    targets = int((split.train.lengths - 1).clip(0).sum())
    asked = split.test.histories.take(np.arange(512))
    started = time.perf_counter()
    model.rank(asked, 20)
    searched = time.perf_counter() - started
    print(
        json.dumps(
            {
                "items": args.items,
                "targets_per_epoch": targets,
                "targets_per_second": [round(targets / row["seconds"]) for row in rows],
                "search_ms_per_history": round(1000 * searched / len(asked), 2),
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "threads": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
