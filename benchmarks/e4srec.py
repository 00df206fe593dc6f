"""What a step of E4SRec costs with the prefixes of a sequence in one row, beside rows of their own.

    python benchmarks/e4srec.py data/music --backbone models/music-labels

The same prefixes, forward and backward, in turns; processor time, which a busy machine disturbs least. Item vectors are
random, for speed does not depend on them. One JSON object a way.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from seqlore.data import Dataset, leave_one_out
from seqlore.language.e4srec import E4SRec
from seqlore.language.prefixes import PrefixPlan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="dataset folder")
    parser.add_argument("--backbone", required=True, help="folder or name of a causal model")
    parser.add_argument("--batch", type=int, default=8, help="rows in a batch, on average")
    parser.add_argument("--batches", type=int, default=20, help="in each of three turns")
    a = parser.parse_args()
    split = leave_one_out(Dataset.load(a.data))
    model = E4SRec(backbone={"name": a.backbone})
    model._learns_from(split)
    model._vectors = torch.randn(split.catalog.size, 64)
    net = model.net = model.build(split.counts())
    net.train()
    plan = PrefixPlan.all(split.train.lengths, model.config.max_length)
    prefixes = int(a.batch * plan.prefixes.mean())
    parts = plan.batches(prefixes, len(net.after), np.random.default_rng(0))[: a.batches]
    batches = {
        "one row": [net.rows(split.train, part) for part in parts],
        "rows of their own": [net.rows(split.train, part.apart()) for part in parts],
    }
    seconds = dict.fromkeys(batches, 0.0)
    for _ in range(3):
        for way, these in batches.items():
            started = time.process_time()
            for batch in these:
                net(batch).backward()
            seconds[way] += time.process_time() - started
    for way, these in batches.items():
        told = {
            "prefixes": sum(int((batch.targets > 0).sum()) for batch in these),
            "positions": sum(batch.tokens.numel() for batch in these),
            "cpu_s": round(seconds[way] / 3, 3),
        }
        print(json.dumps({"way": way, **told}))


if __name__ == "__main__":
    main()
