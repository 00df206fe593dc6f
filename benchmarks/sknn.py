"""How long session-based neighbours take to index their memory and to make the lists of all users.

    python benchmarks/sknn.py DATASET_FOLDER                 # e.g. Beauty: 22,363 users, 12,101 items
    python benchmarks/sknn.py --users 200000 --items 100000  # a random world whose item popularity falls as 1 / rank

Each model has its default settings and ranks the full catalogue, seen items masked, top 10. One JSON object a model,
with the CPU seconds beside the wall clock: on a busy machine these are the steadier figure.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch

from seqlore.data import Dataset, leave_one_out
from seqlore.models.itemknn import ItemKNN
from seqlore.models.sknn import SFSKNN, SKNN, SSKNN, VSKNN


def world(users: int, items: int, seed: int = 0) -> Dataset:
    """Users with 5 to 12 items each, drawn with a probability of 1 / rank."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 13, users)
    chance = 1.0 / np.arange(1, items + 1)
    drawn = rng.choice(items, size=lengths.sum(), p=chance / chance.sum())
    frame = pl.DataFrame(
        {"user_id": np.repeat(np.arange(users), lengths), "item_id": drawn, "timestamp": np.arange(len(drawn))}
    )
    return Dataset.from_frames(frame, pl.DataFrame({"item_id": np.arange(items)}), name=f"{users}x{items}")


def main() -> None:
    """Print one JSON object a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", help="dataset folder; default: a random world")
    parser.add_argument("--users", type=int, default=22_363)
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--asked", type=int, help="make lists for so many users only")
    args = parser.parse_args()
    split = leave_one_out(Dataset.load(args.dataset) if args.dataset else world(args.users, args.items))
    cases = split.test
    assert cases is not None
    if args.asked:
        cases = cases.take(np.arange(min(args.asked, len(cases))))
    for kind in (VSKNN, SKNN, SSKNN, SFSKNN, ItemKNN):
        times = [(time.perf_counter(), time.process_time())]
        model = kind().fit(split)
        times.append((time.perf_counter(), time.process_time()))
        lists = model.rank(cases.histories, 10)
        times.append((time.perf_counter(), time.process_time()))
        (wall_fit, cpu_fit), (wall, cpu) = np.diff(times, axis=0).round(2).tolist()
        result = {
            "model": model.name,
            "memory": len(split.train),
            "lists": len(lists),
            "items": len(split.catalog),
            "threads": torch.get_num_threads(),
            "fit": {"wall_s": wall_fit, "cpu_s": cpu_fit},
            "rank": {"wall_s": wall, "cpu_s": cpu},
            "hr@10": round(float((lists.items == cases.targets[:, None]).any(1).mean()), 4),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
