"""One prompt and a server: the request, made again while its failure may pass, and what is read out of the reply.

The official client makes the requests. What it does not do stands here: one deadline for a whole reply (its own is from
byte to byte, which a slow drip never misses); a budget that every single request has to pass, also one that is made
again; and a reply that cannot be read is asked for again. Therefore the loop is here too, with the client's rules: 408,
409, 429, 5xx, cut connections and timeouts, with growing pauses or as long as the server asks for.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from seqlore.lore.cost import Held, estimate_tokens
from seqlore.lore.model import Answer, Prompt, PromptError, Sampling
from seqlore.lore.schema import follows
from seqlore.text.server import Server, may_pass

if TYPE_CHECKING:
    import openai

    from seqlore.lore.openai import OpenAISettings

#: Seconds before a request is made again: the first pause, which doubles, up to the longest; and the longest that a
#: server may ask for.
FIRST_PAUSE, LONGEST_PAUSE, PATIENCE = 0.5, 30.0, 120.0
#: Shorter keys ("EMPTY", "none", "ollama") are no secrets, and stand in an answer by chance.
SECRET = 12


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is said between one prompt's asking and its answer.

    Attributes:
        tokens: of the prompt, estimated.
        hold: sets aside the budget of a request for n completions; raises BudgetError.
        price: of so many tokens of prompt and completion.
    """

    settings: OpenAISettings
    server: Server
    client: openai.AsyncOpenAI
    prompt: Prompt
    sampling: Sampling
    tokens: int
    hold: Callable[[int], Held]
    price: Callable[[int, int], float | None]

    def at_once(self, wanted: int) -> int:
        """Completions that one request may ask for, of ``wanted``."""
        return min(wanted, self.settings.n_at_once or wanted)

    async def answer(self, held: Held) -> Answer:
        """All completions. ``held``: the budget of the first request.

        Raises: see ``OpenAIModel.generate``; PromptError names its one prompt 0.
        """
        started, wanted = time.perf_counter(), self.sampling.n
        texts, finish, prompt_tokens, completion_tokens = [], [], 0, 0
        while len(texts) < wanted:
            n = self.at_once(wanted - len(texts))
            reply = await self._ask(n, len(texts), held if not texts else self.hold(n))
            texts += reply.texts[:n]
            finish += reply.finish[:n]
            prompt_tokens += reply.prompt_tokens
            completion_tokens += reply.completion_tokens
        self._check(texts, finish)
        seconds, cost = time.perf_counter() - started, self.price(prompt_tokens, completion_tokens)
        return Answer(tuple(texts), tuple(finish), prompt_tokens, completion_tokens, seconds, cost)

    def _check(self, texts: list[str], finish: list[str]) -> None:
        schema = self.sampling.json_schema
        for text, end in zip(texts, finish, strict=True):
            # A completion that was cut short or refused is no JSON, and says so itself.
            if schema is not None and end == "stop" and (fault := follows(text, schema)):
                hint = "the server may not know structured output"
                named = f"the answer to {self._named}"
                raise PromptError({0: f"{self.server.where}: {named} is not JSON of the schema ({fault}); {hint}"})

    async def _ask(self, n: int, done: int, held: Held) -> _Reply:
        """One request for ``n`` completions after ``done``, made again while its failure may pass."""
        import openai

        for attempt in itertools.count():
            try:
                async with asyncio.timeout(self.settings.timeout):
                    reply = self._read(await self._request(n, done))
                held.settle(
                    reply.prompt_tokens + reply.completion_tokens,
                    self.price(reply.prompt_tokens, reply.completion_tokens),
                )
                return reply
            except (openai.OpenAIError, TimeoutError, ValueError, TypeError, AttributeError) as error:
                if isinstance(error, openai.APIStatusError) or _never_sent(error):
                    held.settle(0, 0.0)
                pause = _pause(error, attempt) if attempt < self.settings.retries else None
                then = "; run it again and it goes on from what was stored"
                failure = self.server.failure(error, "a completion", attempt, then, self._named)
                if _is_the_prompts(error):
                    failure = PromptError({0: str(failure)})
            finally:
                held.lose()  # unless settled: a reply was lost, or the work was cancelled
            if pause is None:
                raise failure
            await asyncio.sleep(pause)
            held = self.hold(n)
        raise AssertionError  # count() does not end

    async def _request(self, n: int, done: int) -> Any:
        given, sampling = self.settings, self.sampling
        chat = given.endpoint == "chat"
        limit = given.limit_name or ("max_completion_tokens" if chat and self.server.official else "max_tokens")
        seed = None if sampling.seed is None else sampling.seed + done  # the same again would be the same text
        body = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed}
        body = {name: value for name, value in body.items() if name not in given.omit and value is not None}
        body |= {"model": given.model, limit: sampling.max_tokens, "extra_body": given.extra}
        if n > 1:
            body["n"] = n
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.json_schema is not None:
            form = {"name": "answer", "schema": sampling.json_schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if chat:
            return await self.client.chat.completions.create(messages=self.prompt.messages, **body)  # type: ignore[arg-type]
        return await self.client.completions.create(prompt=plain(self.prompt), **body)

    def _read(self, reply: Any) -> _Reply:
        """Raises: ValueError: the reply is none. (The client checks no types.)"""
        texts, finish = [], []
        for choice in getattr(reply, "choices", None) or ():
            said = choice.message if self.settings.endpoint == "chat" else choice
            text = said.content if self.settings.endpoint == "chat" else said.text
            if not isinstance(text, str | None):
                raise ValueError("a completion is not a text")
            text, cut = _before(self.sampling.stop, self.server.clean(text or "", SECRET))
            refused = getattr(said, "refusal", None) is not None
            texts.append(text)
            finish.append("stop" if cut else "refusal" if refused else str(choice.finish_reason or ""))
        if not texts:
            raise ValueError("no completion")
        usage = getattr(reply, "usage", None)
        asked = _count(usage, "prompt_tokens", self.tokens)
        told = _count(usage, "completion_tokens", sum(map(estimate_tokens, texts)))
        return _Reply(texts, finish, asked, told)

    @property
    def _named(self) -> str:
        """How an error names the prompt: by its beginning."""
        words = " ".join(self.prompt.text.split())
        return f"prompt {words[:57] + '…' if len(words) > 58 else words!r}"


@dataclass(frozen=True, slots=True)
class _Reply:
    texts: list[str]
    finish: list[str]
    prompt_tokens: int
    completion_tokens: int


def plain(prompt: Prompt) -> str:
    """A prompt as one text, for an endpoint without roles."""
    return f"{prompt.system}\n\n{prompt.text}" if prompt.system else prompt.text


def _before(stops: Sequence[str], text: str) -> tuple[str, bool]:
    """``text`` up to the first of ``stops``, which some servers leave in, and whether there was one."""
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)


def _count(usage: Any, name: str, otherwise: int) -> int:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value >= 0 else otherwise


def _never_sent(error: Exception) -> bool:
    """Whether there was no connection, so that nothing can have been used."""
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")


def _is_the_prompts(error: Exception) -> bool:
    """Whether what was asked may be why it failed, so that another prompt may be answered."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code not in (401, 402, 403, 404, 408, 409, 429)
    gone = isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
    return not gone and not _never_sent(error)


def _pause(error: Exception, attempt: int) -> float | None:
    """Seconds until the request is made again; None = that would not help."""
    import openai

    if isinstance(error, openai.OpenAIError) and not may_pass(error):
        return None  # any other error is a reply that cannot be read, and the next one may be whole
    response = getattr(error, "response", None)
    asked = None if response is None else retry_after(response.headers.get("retry-after"))
    if asked is not None:
        return asked * random.uniform(1.0, 1.25) if asked <= PATIENCE else None
    return min(FIRST_PAUSE * 2.0**attempt, LONGEST_PAUSE) * random.uniform(0.75, 1.0)


def retry_after(header: str | None) -> float | None:
    """Seconds that the HTTP header ``Retry-After`` asks for, as a number or a date (RFC 9110, section 10.2.3)."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if seconds == seconds else None
