"""Which texts of an item are embedded, by which encoder, and how the vectors enter a model.

``TextInit`` follows Harte et al., "Leveraging Large Language Models for Sequential Recommendation" (2023), DOI
10.1145/3604915.3610647, section 3.2: the embedding layer of a sequential model starts from the language model's item
embeddings, reduced by PCA to the width of the layer. ``permute`` is their control.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqlore.config import Config
from seqlore.data import Catalog
from seqlore.errors import DataError
from seqlore.text.encoder import open_encoder
from seqlore.text.reduce import reduce
from seqlore.text.store import Fetched, Progress, VectorStore


class TextSource(Config):
    """The item texts and their encoder."""

    #: A name ("all-MiniLM-L6-v2"), a folder, or a server: "openai:MODEL" or "openai:MODEL@BASE_URL".
    encoder: str = "all-MiniLM-L6-v2"
    #: Columns of the items, joined in this order.
    fields: tuple[str, ...] = Field(("title",), min_length=1)
    #: Put before each text.
    prompt: str = ""
    #: Folder of the vector store; None = the default one, see :func:`seqlore.text.store.cache_dir`.
    store: Path | None = None
    #: Ask for shorter vectors of a model trained for that (Matryoshka); None = its full width.
    dimensions: int | None = Field(None, ge=1)

    def fetch(self, texts: Sequence[str], *, progress: Progress | None = None) -> Fetched:
        """Vectors of ``texts`` with the store's hits and misses; an empty text gets a zero row and counts as neither.

        Raises: DataError: all texts are empty. ConfigError: the encoder cannot be found.
        """
        full = [i for i, text in enumerate(texts) if text.strip()]
        if not full:
            raise DataError(f"none of the {len(texts)} texts has any content; embed other fields")
        encoder = open_encoder(self.encoder, dimensions=self.dimensions)
        found = VectorStore(self.store).fetch([texts[i] for i in full], encoder, self.prompt, progress=progress)
        if len(full) == len(texts):
            return found
        vectors = np.zeros((len(texts), found.vectors.shape[1]), np.float32)
        vectors[full] = found.vectors
        return Fetched(vectors, found.hits, found.misses)

    def embed_texts(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """float32 [n, d_text], row i belongs to text i; an empty text gets a zero row."""
        return self.fetch(texts, progress=progress).vectors

    def vectors(self, catalog: Catalog, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """float32 [len(catalog), d_text], row i belongs to item i + 1; an item without text gets a zero row.

        Raises: DataError: a field is not a column of the items, or no item has text in any of the fields.
        """
        return self.embed_texts(catalog.texts(self.fields), progress=progress)


class TextInit(TextSource):
    """How item vectors start from texts, in any net that has an item table."""

    #: How ``d_text`` becomes the width of the table.
    reduce: Literal["pca", "whiten", "random", "autoencoder"] = "pca"
    #: "init": the table starts there and is trained on; "frozen": the text vectors stay, an adapter is learned;
    #: "nullspace": the text keeps its subspace, ids are learned beside it.
    mode: Literal["init", "frozen", "nullspace"] = "init"
    #: Standard deviation over all entries of the reduced vectors.
    scale: float = Field(0.1, gt=0)
    #: The paper's control: each item gets the vector of another, drawn by ``seed``.
    permute: bool = False
    seed: int = 0

    def text_vectors(self, catalog: Catalog) -> NDArray[np.float32]:
        """As :meth:`vectors`, permuted over the items if ``permute``."""
        vectors = self.vectors(catalog)
        return vectors[np.random.default_rng(self.seed).permutation(len(vectors))] if self.permute else vectors

    def frozen_vectors(self, catalog: Catalog) -> NDArray[np.float32]:
        """float32 [len(catalog), d_text], for ``mode="frozen"``: unreduced, permuted if asked."""
        return self.text_vectors(catalog)

    def matrix(self, catalog: Catalog, width: int) -> NDArray[np.float32]:
        """float32 [len(catalog), width]: reduced, scaled to a standard deviation of ``scale``, permuted if asked."""
        reduced = reduce(self.text_vectors(catalog), width, self.reduce, self.seed)
        return (reduced * (self.scale / reduced.std())).astype(np.float32)
