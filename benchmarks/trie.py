"""The catalogue trie: seconds and memory to build it, and how fast nodes are stepped through and opened.

    python benchmarks/trie.py                               # a million titles made of a simulated shop's words
    python benchmarks/trie.py DATASET_FOLDER --titles 0     # the titles of a data set, as they are

The tokenizer is a byte-level BPE of 4,096 tokens trained on the titles. Tokenising is measured apart from building.
Seconds are the processor's. Memory is that of the whole process, titles and tokens included. Prints one JSON object a
measurement.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from seqlore.data import Catalog, Dataset
from seqlore.experiment.trial import PeakMemory
from seqlore.language.trie import BLOCK, Trie
from seqlore.lore.tokenizer import train_tokenizer


def million(words: list[str], n: int) -> list[str]:
    """n titles of 3 to 15 words, which are as frequent as in ``words``."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 16, n)
    drawn = np.array(words, dtype=object)[rng.integers(0, len(words), int(lengths.sum()))]
    ends = np.cumsum(lengths)
    return [" ".join(drawn[end - length : end]) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]


def measured(what: str, start: float, **more: Any) -> None:
    """Print one measurement."""
    memory = psutil.Process().memory_info().rss / 2**20
    line = {"what": what, "seconds": round(time.process_time() - start, 2), "resident_mb": round(memory), **more}
    print(json.dumps(line), flush=True)


def main() -> None:
    """Print one JSON object a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--titles", type=int, default=1_000_000, help="0: those of the data set")
    args = parser.parse_args()
    if args.dataset is None:
        from seqlore.data.simulate import simulate

        data = simulate(users=500, items=5000, seed=0)
    else:
        data = Dataset.load(args.dataset)
    titles = [title for title in Catalog(data.items).texts() if title]
    tokenizer = train_tokenizer(titles, 4096)
    if args.titles:
        titles = million(" ".join(titles).split(), args.titles)
    print(json.dumps({"titles": len(titles), "torch": torch.__version__, "threads": torch.get_num_threads()}))
    measured("titles made", time.process_time())

    start, tokens, lengths = time.process_time(), [], []
    for at in range(0, len(titles), BLOCK):
        rows = [[*each.ids, 2] for each in tokenizer.encode_batch_fast(titles[at : at + BLOCK])]  # 2 ends a title
        lengths += map(len, rows)
        tokens.append(np.fromiter((t for row in rows for t in row), np.int32))
    flat, offsets = np.concatenate(tokens), np.r_[0, np.cumsum(lengths)]
    measured("tokenise", start, tokens=len(flat))

    start = time.process_time()
    with PeakMemory() as memory:
        trie = Trie.build(flat, offsets, np.arange(1, len(titles) + 1), tokenizer.get_vocab_size())
    size = {"nodes": len(trie), "depth": trie.depth, "trie_mb": round(trie.bytes / 2**20)}
    measured("build", start, **size, peak_mb=round(memory.mb))

    rng = np.random.default_rng(0)
    some = rng.integers(0, len(titles), 100_000)
    start, nodes = time.process_time(), torch.zeros(len(some), dtype=torch.int64)
    width = np.diff(offsets)[some]
    for depth in range(int(width.max())):
        at = np.minimum(offsets[some] + depth, offsets[some + 1] - 1)
        found = trie.step(nodes, torch.from_numpy(flat[at].astype(np.int64)))
        nodes = torch.where(torch.from_numpy(depth < width), found, nodes)
    if not bool(trie.is_leaf(nodes).all()):
        raise AssertionError("a title of the catalogue does not lead to a leaf")
    measured("walk 100,000 titles to their leaves", start, steps=int(width.sum()))

    inner = torch.from_numpy(rng.integers(0, len(trie), 100_000))
    start = time.process_time()
    row, _, _ = trie.children(inner)
    measured("open 100,000 nodes", start, children=len(row))


if __name__ == "__main__":
    main()
