"""Seconds an epoch, peak memory and test NDCG@10 after each epoch, of our nets, on the data of recbole_peer.py.

    python benchmarks/nets.py DATASET_FOLDER --model SASRec --epochs 10 --set loss=sampled --set max_length=50

Prints one JSON object an epoch. Testing after each epoch is for this comparison only; no setting was chosen by it.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch

from seqlore.data import Dataset, leave_one_out
from seqlore.evaluation import evaluate
from seqlore.recommender import model_class


def main() -> None:
    """Print one JSON object an epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default="SASRec")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--until", type=float, help="stop once test NDCG@10 reaches this")
    args = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in args.set)
    split = leave_one_out(Dataset.load(args.dataset))
    model = model_class(args.model)(**settings, epochs=args.epochs, patience=args.epochs)
    spent = cpu = 0.0
    worked = time.process_time()

    class Reached(Exception):
        pass

    def after_epoch(row: dict) -> None:
        nonlocal spent, cpu, worked
        spent += row["seconds"]
        cpu += time.process_time() - worked
        if "stage" in row:  # pre-training: time that is spent, and no net to test yet
            worked = time.process_time()
            return
        started = time.perf_counter()
        metrics = evaluate(model, split, at=(10,)).metrics
        out = {
            "model": args.model,
            "epoch": row["epoch"],
            "seconds": round(row["seconds"], 2),
            "spent": round(spent, 2),
            "cpu_spent": round(cpu, 2),
            "evaluate_seconds": round(time.perf_counter() - started, 2),
            "loss": row["train_loss"],
            "ndcg@10": round(metrics["ndcg@10"], 4),
            "hr@10": round(metrics["hr@10"], 4),
            "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(out), flush=True)
        if args.until is not None and metrics["ndcg@10"] >= args.until:
            raise Reached
        worked = time.process_time()

    try:
        model.fit(split, progress=after_epoch)
    except Reached:
        print(f"reached {args.until} after {spent:.1f} s of training, {cpu:.1f} s of processor time")


if __name__ == "__main__":
    main()
