"""Text encoders: the contract, and sentence-transformers behind it.

Sentence-BERT: Reimers and Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks" (2019), arXiv
1908.10084. The default model is all-MiniLM-L6-v2: 384 dimensions, 256 word pieces, unit length.

A model is loaded when the first text has to be encoded; with a warm store neither it nor its library is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError
from seqlore.text.encodable import encodable
from seqlore.text.locate import find_model, model_digest
from seqlore.text.quiet import quiet

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Precision = Literal["fp32", "bf16"]

#: Word pieces in a batch, padding counted. On a CPU the activations then stay in the cache; a GPU wants more at once.
TOKENS_CPU, TOKENS_GPU = 2048, 65536
#: Texts that are tokenised and sorted together: bounds memory, and is enough to fill batches evenly.
WINDOW = 16384


class TextEncoder(Protocol):
    """Texts → vectors."""

    @property
    def identity(self) -> str:
        """Everything that the vectors depend on: equal identities give equal vectors. Keys the vector store."""
        ...

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, dimension]."""
        ...


class BatchedEncoder(TextEncoder, Protocol):
    """An encoder that batches texts itself; the vector store keeps each batch as soon as it is there."""

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """(positions in ``texts`` [b], float32 [b, dimension]) until each text has had its turn."""
        ...


def gather(encoder: BatchedEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """``encode`` made of ``batches``: float32 [n, dimension]."""
    vectors = np.zeros((len(texts), encoder.dimension), np.float32)
    for index, block in encoder.batches(texts):
        vectors[index] = block
    return vectors


class SentenceEncoder:
    """A sentence-transformers model, found by folder or name (see :mod:`seqlore.text.locate`)."""

    def __init__(
        self,
        name: str = "all-MiniLM-L6-v2",
        *,
        precision: Precision = "fp32",
        dimensions: int | None = None,
        tokens: int | None = None,
    ) -> None:
        """Find the model; nothing is loaded yet.

        Args:
            precision: "bf16" runs matrix products in bfloat16: 2 to 3 times as fast on a CPU with AMX and on a GPU;
                vectors turn by less than 0.01 rad (cosine ≥ 0.9999).
            dimensions: keep only the first so many, for models trained for that (Matryoshka).
            tokens: word pieces in a batch; None = by the device.

        Raises: ConfigError: see :func:`seqlore.text.locate.find_model`.
        """
        self.name, self.precision, self.dimensions, self.tokens = name, precision, dimensions, tokens
        self.folder = find_model(name)
        self.digest = model_digest(self.folder)

    @property
    def identity(self) -> str:
        """Digest of the model's files, and the settings that change its vectors."""
        extra = "" if self.precision == "fp32" else f" {self.precision}"
        extra += "" if self.dimensions is None else f" [:{self.dimensions}]"
        return f"sentence-transformers:{self.digest}{extra}"

    @property
    def model(self) -> SentenceTransformer:
        """The loaded model, shared by all encoders of the same files."""
        return _load(self.folder, self.digest)

    @cached_property
    def _width(self) -> int:
        return self._run(["width"]).shape[1]

    @property
    def dimension(self) -> int:
        """Width of the vectors. Raises: ConfigError: ``dimensions`` exceeds that of the model."""
        return self._width

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, dimension], as ``SentenceTransformer.encode`` gives them; too long a text is cut at its end."""
        return gather(self, texts)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Batches of texts of like length, the longest first, each under the token budget."""
        budget = self.tokens or (TOKENS_CPU if self.model.device.type == "cpu" else TOKENS_GPU)
        every = np.array([encodable(text) for text in texts], dtype=object)
        by_length = np.argsort([-len(t) for t in texts], kind="stable")
        for start in range(0, len(every), WINDOW):
            window = by_length[start : start + WINDOW]
            for part in _cut(self._lengths(every[window].tolist()), budget):
                index = window[part]
                yield index, self._run(every[index].tolist())

    def _run(self, texts: list[str]) -> NDArray[np.float32]:
        """float32 [n, dimension], as one batch."""
        import torch

        model: Any = self.model
        fast = torch.autocast(model.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()
        with fast:  # encode itself runs under inference_mode
            block = model.encode(texts, batch_size=len(texts), show_progress_bar=False)
        if self.dimensions is not None and self.dimensions > block.shape[1]:
            raise ConfigError(f"dimensions={self.dimensions}: encoder {self.name!r} has only {block.shape[1]}")
        return np.asarray(block[:, : self.dimensions], np.float32)

    def _lengths(self, texts: list[str]) -> NDArray[np.int64]:
        """int64 [n], word pieces of each text as the model will see it."""
        model: Any = self.model
        tokenizer, limit = model.tokenizer, model.max_seq_length
        if not callable(tokenizer):  # models of plain word vectors
            return np.array([len(t) // 4 + 1 for t in texts])
        cut = {} if limit is None else {"truncation": True, "max_length": limit}
        pieces: Any = tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, **cut)
        return np.array([len(p) for p in pieces["input_ids"]])


def _cut(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Positions by falling length, in parts whose padded size stays within ``budget`` (a single text may exceed it)."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start:stop]
        start = stop


@lru_cache(maxsize=2)
def _load(folder: Path, digest: str) -> SentenceTransformer:
    """The model in ``folder``, whose content is ``digest``: a folder that has changed is loaded anew."""
    with quiet():
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(str(folder), local_files_only=True, model_kwargs={"use_safetensors": True})
        except Exception as error:
            raise ConfigError(f"encoder {str(folder)!r} cannot be loaded: {str(error).splitlines()[0]}") from error


def open_encoder(name: str, *, precision: Precision = "fp32", dimensions: int | None = None) -> TextEncoder:
    """The encoder that ``name`` means: a model's name or folder, ``"openai:MODEL"`` or ``"openai:MODEL@BASE_URL"``.

    Raises: ConfigError: the model cannot be found, or a server is told a precision. MissingExtraError: the client for
        servers is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "openai":
        from seqlore.text.openai import OpenAIEncoder

        if precision != "fp32":
            raise ConfigError(f"encoder {name!r} computes on its server: leave precision={precision!r} out")
        model, _, base_url = rest.partition("@")
        return OpenAIEncoder(model, base_url=base_url or None, dimensions=dimensions)
    return SentenceEncoder(name, precision=precision, dimensions=dimensions)
