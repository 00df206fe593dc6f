"""Which texts of an item are embedded, by which encoder, and how the vectors enter a model.

``TextInit`` follows Harte et al., "Leveraging Large Language Models for Sequential Recommendation" (RecSys 2023), DOI
10.1145/3604915.3610639, section 3.3: the item embeddings of a sequential model start from the language model's, reduced
by PCA to their width. ``permute`` is their control.
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
from seqlore.errors import ConfigError, DataError
from seqlore.text.encoder import Precision, open_encoder
from seqlore.text.nullspace import null_space
from seqlore.text.reduce import Method, reduce
from seqlore.text.shelf import Progress
from seqlore.text.store import Fetched, VectorStore


class TextSource(Config):
    """The item texts and their encoder."""

    encoder: str = "all-MiniLM-L6-v2"
    """A name ("all-MiniLM-L6-v2"), a folder, or a server: "openai:MODEL" or "openai:MODEL@BASE_URL"."""
    fields: tuple[str, ...] = Field(default=("title",), min_length=1)
    """Columns of the items, joined in this order."""
    prompt: str = ""
    """Put before each text."""
    store: Path | None = None
    """Folder of the vector store; None = ``vectors`` in the cache folder (``SEQLORE_CACHE`` names another)."""
    dimensions: int | None = Field(default=None, ge=1)
    """Ask for shorter vectors of a model trained for that (Matryoshka); None = its full width."""
    precision: Precision = "fp32"
    """Arithmetic of a local model: "bf16" is 2 to 3 times as fast where the hardware has it, and all but the same."""

    def fetch(self, texts: Sequence[str], *, progress: Progress | None = None) -> Fetched:
        """Vectors of ``texts`` with the store's hits and misses; an empty text gets a zero row and counts as neither.

        Raises: DataError: all texts are empty. ConfigError: the encoder cannot be found.
        """
        full = [i for i, text in enumerate(texts) if text.strip()]
        if not full:
            raise DataError(f"none of the {len(texts)} texts has any content, so there is nothing to embed")
        encoder = open_encoder(self.encoder, precision=self.precision, dimensions=self.dimensions)
        found = VectorStore(self.store).fetch([texts[i] for i in full], encoder, self.prompt, progress=progress)
        if len(full) == len(texts):
            return found
        vectors = np.zeros((len(texts), found.vectors.shape[1]), np.float32)
        vectors[full] = found.vectors
        return Fetched(vectors, found.hits, found.misses)

    def embed_texts(self, texts: Sequence[str], *, progress: Progress | None = None) -> NDArray[np.float32]:
        """float32 [n, d_text], row i belongs to text i; an empty text gets a zero row. Raises: as ``fetch``."""
        return self.fetch(texts, progress=progress).vectors

    def vectors(self, catalog: Catalog, *, progress: Progress | None = None) -> NDArray[np.float32]:
        """float32 [len(catalog), d_text], row i belongs to item i + 1; an item without text gets a zero row.

        Raises: DataError: a field is not a column of the items, or no item has text in any of them. ConfigError: the
            encoder cannot be found.
        """
        return self.embed_texts(self.item_texts(catalog), progress=progress)

    def item_texts(self, catalog: Catalog) -> list[str]:
        """What is embedded for each item, [len(catalog)]. Raises: DataError: see :meth:`vectors`."""
        texts = catalog.texts(self.fields)
        if not any(texts):
            raise DataError(
                f"no item has a text in {', '.join(map(repr, self.fields))}: choose other text fields, or use ids alone"
            )
        return texts


class TextInit(TextSource):
    """How item vectors start from texts, in any net that has an item table."""

    reduce: Method = "pca"
    """How ``d_text`` becomes the width of the table."""
    mode: Literal["init", "frozen", "nullspace"] = "init"
    """"init": the table starts there and is trained on; "frozen": the text vectors stay, an adapter is learned;
    "nullspace": the text keeps its subspace, ids are learned beside it."""
    scale: float = Field(default=0.1, gt=0)
    """Standard deviation over all entries of items that have a text."""
    null_share: float = Field(default=0.5, gt=0, lt=1)
    """For "nullspace": the share of the table's width in which ids are learned."""
    permute: bool = False
    """The paper's control: each item gets the vector of another, drawn by ``seed`` and that of the model."""
    seed: int = 0
    """For whatever is random: the permutation, the projection, the autoencoder."""

    def check(self) -> None:
        """Raises: ConfigError: a setting that ``mode`` does not read has another value than its default."""
        unread = {"init": {"null_share"}, "frozen": {"reduce", "scale", "null_share"}, "nullspace": {"reduce"}}
        drawn = self.mode == "init" or self.permute
        settings = unread[self.mode] if drawn else unread[self.mode] | {"seed"}
        for name, field in type(self).model_fields.items():
            if name in settings and getattr(self, name) != field.default:
                raise ConfigError(f"item_init: mode {self.mode!r} does not read {name!r}: leave it out")

    def frozen_vectors(self, catalog: Catalog, seed: int = 0) -> NDArray[np.float32]:
        """For ``mode="frozen"``: float32 [len(catalog), d_text] as the encoder gave them, permuted if asked.

        Args: seed: of the model; each draws a permutation of its own, 0 that of the settings alone.
        """
        vectors = self.vectors(catalog)
        if not self.permute:
            return vectors
        return vectors[_derangement(len(vectors), np.random.default_rng((self.seed, seed) if seed else self.seed))]

    def matrix(self, catalog: Catalog, width: int, seed: int = 0) -> NDArray[np.float32]:
        """For ``mode="init"``: float32 [len(catalog), width], centred, zero where an item has no text.

        Args: seed: see :meth:`frozen_vectors`.

        Raises: as :meth:`vectors`, and ConfigError: ``width`` exceeds what ``reduce`` can give.
        """
        return self._scaled(reduce(self.frozen_vectors(catalog, seed), width, self.reduce, self.seed))

    def null_space(self, catalog: Catalog, width: int, seed: int = 0) -> tuple[NDArray[np.float32], slice]:
        """For ``mode="nullspace"``: the frozen part, float32 [len(catalog), width], and the dimensions for ids.

        The method is principal components, standardised. Args and Raises: as :meth:`matrix`.
        """
        frozen, free = null_space(self.frozen_vectors(catalog, seed), width, self.null_share)
        return self._scaled(frozen), free

    def _scaled(self, reduced: NDArray[np.float32]) -> NDArray[np.float32]:
        return reduced * np.float32(self.scale / reduced[reduced.any(axis=1)].std())


def _derangement(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """A permutation of 0 … n − 1, n ≥ 2, that leaves nothing in its place: what a plain draw left there is moved on."""
    order = rng.permutation(n)
    fixed = np.flatnonzero(order == np.arange(n))
    if len(fixed) == 1 and n > 1:  # it changes places with its neighbour, which is not in its own place either
        fixed = np.array([fixed[0], (fixed[0] + 1) % n])
    order[fixed] = order[np.roll(fixed, 1)]
    return order
