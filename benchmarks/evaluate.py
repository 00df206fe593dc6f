"""How long the evaluation of all users takes, and how much memory: scores, mask, lists, metrics.

    python benchmarks/evaluate.py DATASET_FOLDER             # e.g. Beauty: 22,363 users, 12,101 items
    python benchmarks/evaluate.py --items 1000000 --users 512

The model is an inner product of random 64-d vectors, so that nothing but the evaluation is measured. "score" is the
bare matrix product, the floor; "rank" adds mask, top-20 and the tie check; "evaluate" adds the metrics and the table of
cases. Each is the best of a few runs, as JSON, with the CPU seconds beside the wall clock: on a busy machine these are
the steadier figure.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from seqlore.data import Dataset, Sequences, Split, leave_one_out
from seqlore.evaluation import evaluate
from seqlore.ranking import BLOCK
from seqlore.recommender import ScoringRecommender


class Dot(ScoringRecommender):
    """score = ⟨vector of the last item, item vector⟩, from random vectors."""

    def _fit(self, split: Split) -> None:
        self.table = torch.randn(split.catalog.size, 64, generator=torch.Generator().manual_seed(0))

    def score(self, histories: Sequences) -> Tensor:
        last = histories.items[histories.offsets[1:] - 1].astype(np.int64)
        return self.table[last] @ self.table.T

    def state(self) -> dict[str, Tensor]:
        return {"table": self.table}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.table = state["table"]


def world(users: int, items: int, seed: int = 0) -> Dataset:
    """Users with 5 to 12 uniformly drawn items each, in a catalogue of ``items``."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 13, users)
    frame = pl.DataFrame(
        {"user_id": np.repeat(np.arange(users), lengths), "item_id": rng.integers(items, size=lengths.sum())}
    )
    return Dataset.from_frames(frame, pl.DataFrame({"item_id": np.arange(items)}), name=f"{users}x{items}")


def best(run: Callable[[], object], repeats: int) -> dict[str, float]:
    """Wall and CPU seconds of the quickest run."""
    timed = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        timed.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = min(timed)
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", help="dataset folder; default: a random world")
    parser.add_argument("--users", type=int, default=22_363)
    parser.add_argument("--items", type=int, default=12_101)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    split = leave_one_out(Dataset.load(args.dataset) if args.dataset else world(args.users, args.items))
    model, cases = Dot().fit(split), split.test
    assert cases is not None
    assert split.dataset.hash  # read once and remembered, like the catalogue's: no part of an evaluation
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk = max(1, BLOCK // split.catalog.size)

    def score() -> None:
        for start in range(0, len(cases), chunk):
            model.score(cases.histories.take(slice(start, start + chunk)))

    result = {
        "cases": len(cases),
        "items": len(split.catalog),
        "threads": torch.get_num_threads(),
        "score": best(score, args.repeats),
        "rank": best(lambda: model.rank(cases.histories, 20, targets=cases.targets), args.repeats),
        "evaluate": best(lambda: evaluate(model, split, at=(5, 10, 20)), args.repeats),
    }
    result["peak_above_data_mb"] = round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
