"""Text vectors from a server that speaks OpenAI's ``/v1/embeddings``: OpenAI itself, vLLM, Ollama, llama.cpp, TEI, …

The official client waits and tries again on 408, 409, 429, 5xx, broken connections and timeouts, with growing pauses,
and as long as the server asks for. What is added here: batches of bounded size, texts back in their order by the index
that each vector carries, and errors in one sentence. A batch is stored as soon as it is there, so nothing that was
paid for is asked for again.

Which key goes to which address is said in :mod:`seqlore.text.server`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError, DataError
from seqlore.text.encodable import encodable
from seqlore.text.encoder import gather
from seqlore.text.server import Server

if TYPE_CHECKING:
    import openai

#: Limits of one request: texts, and characters of all of them (OpenAI allows 2,048 texts and 300,000 tokens).
TEXTS, CHARACTERS = 256, 200_000


class OpenAIEncoder:
    """An embedding model behind an OpenAI-compatible server."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        dimensions: int | None = None,
        api_key: str | None = None,
        retries: int = 6,
        timeout: float = 60.0,
    ) -> None:
        """Set up; nothing is asked of the server yet.

        Args:
            model: its name at the server.
            base_url: the address up to and with ``/v1``; None = ``OPENAI_BASE_URL``, else OpenAI.
            dimensions: ask for vectors of this width (models with Matryoshka embeddings).
            api_key: None = from the environment, see above.
            retries: after a failure that may pass; pauses grow from 0.5 to 8 seconds.
            timeout: seconds for one request.

        Raises: ConfigError: no model, an address that is none, or no key where one is needed.
            MissingExtraError: the client is not installed.
        """
        if not model:
            raise ConfigError("encoder 'openai:' names no model: write openai:MODEL, say openai:text-embedding-3-small")
        self._server = Server(f"encoder openai:{model}", base_url, api_key)
        self.base_url = self._server.base_url
        self.model, self.dimensions, self.retries, self.timeout = model, dimensions, retries, timeout

    @property
    def identity(self) -> str:
        """Model, server and width. A server that changes the model behind a name cannot be seen through."""
        return f"openai:{self.model}@{self.base_url}" + ("" if self.dimensions is None else f" [:{self.dimensions}]")

    @cached_property
    def _width(self) -> int:
        return self._ask(["width"]).shape[1]

    @property
    def dimension(self) -> int:
        """Width of the vectors; asks the server once unless ``dimensions`` is set."""
        return self.dimensions or self._width

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, dimension]. The server decides what becomes of a text that is too long.

        Raises: ConfigError: the server refuses the key, the model or a text. DataError: its answer is not one vector
            a text. SeqloreError: it still fails after all retries.
        """
        return gather(self, texts)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """One batch a request, in order. Raises: as ``encode``."""
        start = 0
        while start < len(texts):
            stop, characters = start + 1, len(texts[start])
            while stop < min(start + TEXTS, len(texts)) and characters + len(texts[stop]) <= CHARACTERS:
                characters += len(texts[stop])
                stop += 1
            yield np.arange(start, stop), self._ask(list(map(encodable, texts[start:stop])))
            start = stop

    @cached_property
    def _client(self) -> openai.OpenAI:
        return self._server.client("text vectors from a server", retries=self.retries, timeout=self.timeout)

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        """One request: float32 [n, d]."""
        client = self._client
        import openai

        wish = {} if self.dimensions is None else {"dimensions": self.dimensions}
        data: list[openai.types.Embedding] = []
        found, failure = dict[int, list[float]](), None
        try:
            data = client.embeddings.create(model=self.model, input=texts, **wish).data  # type: ignore[arg-type]
            found = {each.index: each.embedding for each in data}
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            then = "; what it gave is stored, so run it again"
            failure = self._server.failure(error, "a list of embeddings", self.retries, then)
        if failure:
            raise failure
        widths = {len(vector) for vector in found.values()}
        if sorted(found) != list(range(len(texts))) or len(data) != len(texts) or len(widths) != 1:
            gave = f"{len(texts)} texts gave {len(data)} vectors of widths {sorted(widths)}"
            raise DataError(f"{self._server.where}: {gave}")
        return np.array([found[i] for i in range(len(texts))], np.float32)
