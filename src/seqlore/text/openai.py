"""Text vectors from a server that speaks OpenAI's ``/v1/embeddings``: OpenAI itself, vLLM, Ollama, llama.cpp, TEI, …

The official client waits and tries again on 408, 409, 429, 5xx, broken connections and timeouts, with growing pauses,
and as long as the server asks for. What is added here: batches of bounded size, texts back in their order by the index
that each vector carries, and errors in one sentence. A batch is stored as soon as it is there, so nothing that was
paid for is asked for again.

The key comes from the argument or the environment and goes nowhere else: ``OPENAI_API_KEY`` to OpenAI, or to the
address in ``OPENAI_BASE_URL``; to any other address only ``SEQLORE_API_KEY``, because a recipe that names a stranger's
server must not be given a key that was meant for OpenAI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError, DataError, MissingExtraError, SeqloreError
from seqlore.text.encoder import gather

if TYPE_CHECKING:
    import openai

OFFICIAL = "https://api.openai.com/v1"
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
        usual = (os.environ.get("OPENAI_BASE_URL") or OFFICIAL).rstrip("/")
        self.base_url = (base_url or usual).rstrip("/")
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"encoder openai:{model}: the server's address must begin with http:// or https://")
        if address.username or address.password or address.query:
            raise ConfigError(f"encoder openai:{model}: no key in the server's address: set SEQLORE_API_KEY instead")
        variable = "OPENAI_API_KEY" if self.base_url in (usual, OFFICIAL) else "SEQLORE_API_KEY"
        self._key = api_key or os.environ.get(variable) or ""
        if not self._key and self.base_url == OFFICIAL:
            raise ConfigError(f"encoder openai:{model}: OpenAI needs a key; set the environment variable {variable}")
        self.model, self.dimensions, self.retries, self.timeout = model, dimensions, retries, timeout
        self._variable = variable

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
            yield np.arange(start, stop), self._ask(list(texts[start:stop]))
            start = stop

    @cached_property
    def _client(self) -> openai.OpenAI:
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError(
                "text vectors from a server need the openai client: pip install 'seqlore[llm]'"
            ) from error
        # The client insists on some key, even for a server that asks for none.
        return openai.OpenAI(
            api_key=self._key or "none", base_url=self.base_url, max_retries=self.retries, timeout=self.timeout
        )

    def _ask(self, texts: list[str]) -> NDArray[np.float32]:
        """One request: float32 [n, d]."""
        client = self._client
        import openai

        where = f"encoder openai:{self.model} at {self.base_url}"
        wish = {} if self.dimensions is None else {"dimensions": self.dimensions}
        try:
            answer = client.embeddings.create(model=self.model, input=texts, **wish)  # type: ignore[arg-type]
            found = {each.index: each.embedding for each in answer.data}
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise ConfigError(f"{where}: the server refuses the key; set {self._variable} to a valid one") from None
        except openai.NotFoundError:
            raise ConfigError(f"{where}: the server knows no such model or path; check the name and /v1") from None
        except openai.APIStatusError as error:
            if error.status_code >= 500 or error.status_code in (408, 409, 429):
                raise self._given_up(where, f"status {error.status_code}") from None
            said = self._clean(error.message)
            raise ConfigError(f"{where}: the server refuses the request ({error.status_code}): {said}") from None
        except openai.APIConnectionError as error:  # timeouts too
            raise self._given_up(where, type(error.__cause__ or error).__name__) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{where}: the answer is not a list of embeddings ({type(error).__name__})") from None
        widths = {len(vector) for vector in found.values()}
        if sorted(found) != list(range(len(texts))) or len(answer.data) != len(texts) or len(widths) != 1:
            raise DataError(f"{where}: {len(texts)} texts gave {len(answer.data)} vectors of widths {sorted(widths)}")
        return np.array([found[i] for i in range(len(texts))], np.float32)

    def _given_up(self, where: str, what: str) -> SeqloreError:
        return SeqloreError(
            f"{where}: still failing after {self.retries} retries ({what}); what it gave is stored, so run it again"
        )

    def _clean(self, message: str) -> str:
        """A server's words on one line, without the key that some of them repeat."""
        words = " ".join(message.split())[:300]
        return words.replace(self._key, "…") if self._key else words
