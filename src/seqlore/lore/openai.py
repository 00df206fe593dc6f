"""Language models behind a server that speaks OpenAI's protocol: OpenAI itself, vLLM, Ollama, llama.cpp,
``transformers serve``, ….

Here: settings, what it costs, and several prompts at a time under a budget. What becomes of one prompt is in
:mod:`seqlore.lore.exchange`; which key goes to which address is said in :mod:`seqlore.text.server`.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from seqlore.config import Config
from seqlore.errors import ConfigError, SeqloreError
from seqlore.lore.cost import Budget, BudgetError, Held, estimate_tokens
from seqlore.lore.exchange import SECRET, Exchange, plain
from seqlore.lore.model import Answer, Prompt, PromptError, Sampling
from seqlore.lore.parallel import as_ready
from seqlore.lore.schema import check_schema
from seqlore.text.server import Server

#: Tokens that a chat takes for each message and for the turn of the model, about.
PER_MESSAGE, PER_CHAT = 4, 3
#: So many prompts that fail one after another are not the prompts' fault.
FAILURES_IN_A_ROW = 10
#: What "not sent" means for each parameter that may stay unsent.
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "seed": None}


class OpenAISettings(Config):
    """Which model, where, and how it is asked."""

    model: str = Field(min_length=1, description="Its name at the server.")
    base_url: str | None = Field(default=None, description="Address with /v1; None = OPENAI_BASE_URL, else OpenAI.")
    endpoint: Literal["chat", "completions"] = Field(
        default="chat", description="Chat, or plain continuation of the prompt."
    )
    concurrency: int = Field(default=8, ge=1, description="Requests at a time.")
    retries: int = Field(default=8, ge=0, description="How often a request is made again when its failure may pass.")
    timeout: float = Field(default=300.0, gt=0, description="Seconds for a whole reply.")
    context: int | None = Field(
        default=None, ge=1, description="Most tokens of prompt and completion; None = not known."
    )
    prompt_price: float | None = Field(default=None, ge=0, description="Of a million prompt tokens; None = not known.")
    completion_price: float | None = Field(
        default=None, ge=0, description="Of a million completion tokens; None = not known."
    )
    limit_name: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        default=None,
        description="Parameter for the longest completion; None = OpenAI's chat wants the second, others the first.",
    )
    n_at_once: int | None = Field(
        default=None, ge=1, description="Completions in one request; 1 for servers that refuse more."
    )
    omit: tuple[Literal["temperature", "top_p", "seed"], ...] = Field(
        default=(), description="Parameters that the model refuses: not sent, so a sampling that sets them is an error."
    )
    extra: dict[str, Any] = Field(default={}, description="More parameters of the request, as the server names them.")

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.prompt_price is None) != (self.completion_price is None):
            raise ValueError("prompt_price and completion_price: set both or neither")
        return self


class OpenAIModel:
    """A language model behind an OpenAI-compatible server."""

    #: The server reads the text only.
    reads_facts = False

    def __init__(
        self, model: str, *, api_key: str | None = None, budget: Budget | None = None, **settings: Any
    ) -> None:
        """Set up; nothing is asked of the server yet.

        Args:
            model: its name at the server.
            api_key: None = from the environment, see :mod:`seqlore.text.server`.
            budget: bounds what all calls together may spend; None = no bound.
            settings: fields of :class:`OpenAISettings`.

        Raises: ConfigError: a setting that does not exist or fit, an address that is none, no key where one is
            needed, a budget in money without prices.
        """
        what = f"language model openai:{model}"
        self.settings = OpenAISettings.parse({"model": model, **settings}, what)
        self.budget = budget or Budget()
        if self.budget.money is not None and self.price(0, 0) is None:
            raise ConfigError(f"{what}: a budget in money needs prices: set prompt_price and completion_price")
        self._server = Server(what, self.settings.base_url, api_key)

    @property
    def identity(self) -> str:
        """Server, model, endpoint and extra parameters. A model changed behind its name cannot be seen through."""
        given = self.settings
        extra = f" {json.dumps(given.extra, sort_keys=True)}" if given.extra else ""
        return self._server.clean(f"openai:{given.model}@{self._server.base_url} {given.endpoint}{extra}", SECRET)

    @property
    def context(self) -> int | None:
        """As the settings say; the protocol has no way to ask."""
        return self.settings.context

    def count_tokens(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        """int64 [n], an estimate that is rather high (:func:`~seqlore.lore.cost.estimate_tokens`)."""
        chat = self.settings.endpoint == "chat"
        counts = (
            PER_CHAT + sum(PER_MESSAGE + estimate_tokens(m["content"]) for m in prompt.messages)
            if chat
            else estimate_tokens(plain(prompt))
            for prompt in prompts
        )
        return np.fromiter(counts, np.int64, len(prompts))

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """By the prices in the settings; discounts (cached prompts, batches) are not counted."""
        given = self.settings
        if given.prompt_price is None or given.completion_price is None:
            return None
        return (prompt_tokens * given.prompt_price + completion_tokens * given.completion_price) / 1e6

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        """(index, answer), each as it comes. Token counts are the server's, or an estimate where it gives none.

        A server that gives fewer than ``n`` completions is asked again, with the next seed, until they are there; the
        prompt is then counted each time. A refused completion is an empty text with the server's word as ``finish``.

        Raises: PromptError: at the end, of prompts that the server refuses, whose replies still fail or cannot be read
            after all retries, or are not JSON of the schema. ConfigError: a sampling that cannot be asked for; the
            server refuses key or model. MissingExtraError: the client is not installed. BudgetError: the next request
            may exceed the budget. SeqloreError: the server is gone; :data:`FAILURES_IN_A_ROW`.
        """
        self._check(sampling)
        return self._generate(prompts, sampling)

    def _check(self, sampling: Sampling) -> None:
        for name in self.settings.omit:
            if getattr(sampling, name) != NEUTRAL[name]:
                raise ConfigError(f"{self._server.where} takes no {name} (setting omit): set it to {NEUTRAL[name]}")
        if sampling.json_schema is not None:
            if self.settings.endpoint == "completions":
                raise ConfigError(f"{self._server.where}: JSON of a schema needs endpoint='chat'")
            check_schema(sampling.json_schema)

    def _generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        client = self._server.async_client("answers from a server", retries=0, timeout=self.settings.timeout)
        tokens = self.count_tokens(prompts)
        held: dict[int, Held] = {}
        failures: dict[int, str] = {}
        in_a_row = 0

        def start(i: int, alone: bool) -> Coroutine[Any, Any, Answer | str] | None:
            if in_a_row >= FAILURES_IN_A_ROW:
                raise SeqloreError(f"{in_a_row} prompts in a row have no answer, the last because {failures[latest]}")

            def hold(n: int) -> Held:
                return self._hold(int(tokens[i]), n * sampling.max_tokens)

            size = int(tokens[i])
            exchange = Exchange(self.settings, self._server, client, prompts[i], sampling, size, hold, self.price)
            try:
                held[i] = hold(exchange.at_once(sampling.n))
            except BudgetError:
                if alone:
                    raise
                return None  # what is in flight may use less than was set aside for it
            return _answer_or_failure(exchange, held[i])

        latest = 0
        try:
            for i, answer in as_ready(start, len(prompts), self.settings.concurrency, client.close):
                del held[i]
                if isinstance(answer, str):
                    failures[i], in_a_row, latest = answer, in_a_row + 1, i
                else:
                    in_a_row = 0
                    yield i, answer
            if failures:
                raise PromptError(failures)
        finally:
            for each in held.values():
                each.settle(0, 0.0)  # of requests that were never made; all others have settled

    def _hold(self, prompt_tokens: int, completion_tokens: int) -> Held:
        return self.budget.hold(prompt_tokens + completion_tokens, self.price(prompt_tokens, completion_tokens))


async def _answer_or_failure(exchange: Exchange, held: Held) -> Answer | str:
    """The answer, or what is wrong with the prompt; what would be wrong with any other is raised."""
    try:
        return await exchange.answer(held)
    except PromptError as error:
        return str(error)
