"""An encoder without a model, also run as a program: ``python fakes.py STORE LOG COUNT SECONDS``."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from seqlore.text.store import VectorStore


def vector_of(text: str, width: int = 8) -> np.ndarray:
    """What :class:`FakeEncoder` gives for ``text``."""
    return np.frombuffer(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:width], np.uint8) / np.float32(
        255
    )


class FakeEncoder:
    """Vectors from a hash of the text. ``asked`` holds every text that was computed, in order."""

    def __init__(self, identity: str = "fake", width: int = 8) -> None:
        self.identity, self.dimension, self.asked = identity, width, list[str]()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([vector_of(t, self.dimension) for t in texts], np.float32).reshape(len(texts), self.dimension)


class SlowEncoder(FakeEncoder):
    """Batches of 4 that take a while; each is logged when its computation begins."""

    def __init__(self, log: Path, seconds: float) -> None:
        super().__init__()
        self.log, self.seconds = log, seconds

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(texts), 4):
            index = np.arange(start, min(start + 4, len(texts)))
            with self.log.open("a") as file:
                file.writelines(f"{texts[i]}\n" for i in index)
            time.sleep(self.seconds)
            yield index, self.encode([texts[i] for i in index])


if __name__ == "__main__":
    store, log, count, seconds = sys.argv[1:]
    texts = [f"text {i}" for i in range(int(count))]
    found = VectorStore(store).fetch(texts, SlowEncoder(Path(log), float(seconds)))
    assert np.array_equal(found.vectors, np.array([vector_of(t) for t in texts], np.float32))
