"""Titles to vectors, and a vector store of a million: seconds, and how close the vectors are.

    python benchmarks/encode.py [DATASET_FOLDER] [--encoder all-MiniLM-L6-v2] [--texts 4000] [--rows 1000000]

Without a dataset the titles of a simulated shop are encoded. Three ways take turns on the same texts:
``SentenceTransformer.encode`` as it comes, and ours in fp32 and bf16. Processor seconds stand beside wall seconds,
because a busy machine changes them less. Prints one JSON object a measurement.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqlore.data import Catalog, Dataset
from seqlore.text import SentenceEncoder, VectorStore


def timed(run: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What ``run`` gives, and how long it took."""
    wall, processor = time.perf_counter(), time.process_time()
    result = run()
    seconds = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
    return result, {key: round(value, 3) for key, value in seconds.items()}


def encoders(titles: list[str], name: str, rounds: int) -> Iterator[dict[str, Any]]:
    """Seconds for all titles, the least of ``rounds``, and distance from the first way's vectors."""
    encoder = SentenceEncoder(name)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "SentenceTransformer.encode": lambda: np.asarray(encoder.model.encode(titles, show_progress_bar=False)),
        "SentenceEncoder fp32": lambda: encoder.encode(titles),
        "SentenceEncoder bf16": lambda: SentenceEncoder(name, precision="bf16").encode(titles),
    }
    encoder.encode(titles[:64])  # loads the model
    best: dict[str, dict[str, float]] = {}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for way, run in ways.items():
            vectors[way], taken = timed(run)
            best[way] = min(best.get(way, taken), taken, key=lambda t: t["processor_seconds"])
    reference = vectors["SentenceTransformer.encode"]
    for way, each in vectors.items():
        cosine = (each * reference).sum(1) / (np.linalg.norm(each, axis=1) * np.linalg.norm(reference, axis=1))
        yield {
            "what": way,
            "texts": len(titles),
            **best[way],
            "largest_difference": float(np.abs(each - reference).max()),
            "least_cosine": float(cosine.min()),
        }


class Noise:
    """An encoder that costs nothing, so that the store's own time is seen."""

    identity, dimension = "noise", 384

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, 384]."""
        return np.random.default_rng(len(texts)).random((len(texts), self.dimension), np.float32)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """In blocks as a GPU would give them."""
        for start in range(0, len(texts), 4096):
            index = np.arange(start, min(start + 4096, len(texts)))
            yield index, self.encode([texts[i] for i in index.tolist()])


def store(rows: int) -> Iterator[dict[str, Any]]:
    """Seconds to write, to open, and to look up."""
    texts = [f"title number {i}" for i in range(rows)]
    with tempfile.TemporaryDirectory() as folder:
        _, taken = timed(lambda: VectorStore(folder).fetch(texts, Noise()))
        yield {"what": "store: write and read back", "rows": rows, **taken}
        opened, taken = timed(lambda: VectorStore(folder).shelf("noise").rows())
        yield {"what": "store: open", "rows": len(opened.keys), **taken}
        some = [texts[i] for i in np.random.default_rng(0).integers(0, rows, 10_000).tolist()]
        _, taken = timed(lambda: VectorStore(folder).fetch(some, Noise()))
        yield {"what": "store: open and fetch 10,000", "rows": rows, **taken}


def main() -> None:
    """Print one JSON object a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=4000, help="so many titles, drawn at random")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    if args.dataset is None:
        from seqlore.data.simulate import simulate

        data = simulate(users=500, items=max(args.texts, 500), seed=0)
    else:
        data = Dataset.load(args.dataset)
    titles = np.array(sorted({t for t in Catalog(data.items).texts() if t}), dtype=object)
    titles = np.random.default_rng(0).permutation(titles)[: args.texts].tolist()
    print(json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, "dataset": data.name}))
    for measured in (*encoders(titles, args.encoder, args.rounds), *store(args.rows)):
        print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
