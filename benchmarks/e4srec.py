"""What a step of E4SRec costs with the prefixes of a sequence in one row, beside rows of their own.

    python benchmarks/e4srec.py data/music --backbone models/music-labels

The same prefixes, forward and backward, in turns; processor time, which a busy machine disturbs least. Item vectors are
random, for speed does not depend on them. One JSON object a way.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from unittest.mock import patch

import torch

from seqlore.data import Dataset, leave_one_out
from seqlore.language.backbone import Backbone
from seqlore.language.e4srec import E4SRec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="dataset folder")
    parser.add_argument("--backbone", required=True, help="folder or name of a causal model")
    parser.add_argument("--batch", type=int, default=8, help="sequences in a batch")
    parser.add_argument("--batches", type=int, default=20, help="in each of three turns")
    a = parser.parse_args()
    split = leave_one_out(Dataset.load(a.data))
    model = E4SRec(backbone={"name": a.backbone}, batch_size=a.batch)
    model._learns_from(split)
    model._vectors = torch.randn(split.catalog.size, 64)
    net = model.net = model.build(split.counts())
    net.train()
    batches = {"one row": list(islice(model.batches(split)(1, (0, 1)), a.batches))}
    with patch.object(Backbone, "packs", lambda self, positions: False):
        batches["rows of their own"] = list(islice(model.batches(split)(1, (0, 1)), a.batches))
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
