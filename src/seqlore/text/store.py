"""The vector store: text vectors on disk, keyed by encoder, prompt and text; only what is missing is ever computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqlore.text.cache import cache_dir
from seqlore.text.encoder import TextEncoder
from seqlore.text.shelf import Progress, Shelf, text_keys


@dataclass(frozen=True, eq=False)
class Fetched:
    """What :meth:`VectorStore.fetch` found and computed.

    Attributes:
        vectors: float32 [n, d], row i belongs to text i.
        hits, misses: how many of the different texts were there already, and how many were not.
    """

    vectors: NDArray[np.float32]
    hits: int
    misses: int


class VectorStore:
    """Text vectors of any number of encoders and prompts, below one folder."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """Args: folder: None = ``cache_dir() / "vectors"``. It is made when the first vector is written."""
        self.folder = cache_dir() / "vectors" if folder is None else Path(folder)

    def shelf(self, identity: str, prompt: str = "") -> Shelf:
        """The vectors of one encoder and one prompt."""
        name = hashlib.sha256(json.dumps([identity, prompt]).encode()).hexdigest()[:24]
        return Shelf(self.folder / name, identity, prompt)

    def fetch(
        self, texts: Sequence[str], encoder: TextEncoder, prompt: str = "", *, progress: Progress | None = None
    ) -> Fetched:
        """The vectors of ``prompt + text`` for each text; missing ones are computed and kept.

        Args:
            texts: at least one.
            progress: called after each batch.

        Raises: DataError: the store is damaged or cannot be written, or the encoder's vectors do not fit.
        """
        shelf = self.shelf(encoder.identity, prompt)
        different = list(dict.fromkeys(texts))
        position = {text: i for i, text in enumerate(different)}
        keys = text_keys(different)
        rows = shelf.rows()
        missing = int((rows.find(keys) < 0).sum())
        if missing:
            shelf.fill(different, encoder, progress)
            rows = shelf.rows()
        found = rows.find(keys)[[position[t] for t in texts]]
        return Fetched(np.asarray(rows.vectors[found]), len(different) - missing, missing)
