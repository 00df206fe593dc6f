"""What a language model looks like from inside Seqlore: prompts in, answers out as they come.

One small interface for a hosted model, a server of one's own, a local model, and the extractive one that needs no
model. Answers are yielded as they are ready and not in order, so that a store can keep each before the next is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqlore.config import Config
from seqlore.errors import DataError
from seqlore.text.encodable import encodable


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing to ask.

    Attributes:
        text: the user's message, complete: nothing in it is a template any more, braces and instructions inside a
            title or a review are only characters.
        system: the system message; "" = none.
        task: what is asked for, say "item-knowledge"; a model that reads text ignores it.
        facts: what ``text`` was written from, (name, values) pairs, say ("title", ("Rose Soap",)). The extractive
            model reads these and not ``text``.

    What cannot be encoded in a text is replaced, see :func:`encodable`.
    """

    text: str
    system: str = ""
    task: str = ""
    facts: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", encodable(self.text))
        object.__setattr__(self, "system", encodable(self.system))
        told = tuple((name, tuple(map(encodable, values))) for name, values in self.facts)
        object.__setattr__(self, "facts", told)

    def fact(self, name: str) -> tuple[str, ...]:
        """Values of the fact ``name``; () if there is none."""
        return next((values for key, values in self.facts if key == name), ())

    @property
    def messages(self) -> list[dict[str, str]]:
        """As a chat: the system message, where there is one, and the user's."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": self.text}]


class Sampling(Config):
    """How completions are drawn. What a model or server cannot do is an error, never ignored."""

    max_tokens: int = Field(default=256, ge=1, description="Most tokens in a completion.")
    temperature: float = Field(default=0.0, ge=0, description="0 = the likeliest token each time.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the likeliest tokens that together have this mass."
    )
    n: int = Field(default=1, ge=1, description="Completions of each prompt.")
    stop: tuple[str, ...] = Field(default=(), description="Strings that end a completion; they are not part of it.")
    seed: int | None = Field(default=0, description="Of the draws; None = left to the model.")
    json_schema: dict[str, Any] | None = Field(default=None, description="The completion is JSON of this schema.")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one prompt.

    Attributes:
        texts: ``n`` completions, :func:`encodable`. finish: why each ended: "stop", "length", or the server's own word.
        prompt_tokens, completion_tokens: as the model counts; the second over all completions.
        seconds: from asking to having. cost: in the currency of the model's prices; None = no price is known.
    """

    texts: tuple[str, ...]
    finish: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(map(encodable, self.texts)))


class PromptError(DataError):
    """Prompts that have no answer, and would have none if they were asked again; all others were answered.

    Attributes: failures: index into the prompts → what was wrong, in a sentence.
    """

    def __init__(self, failures: Mapping[int, str]) -> None:
        self.failures = dict(failures)
        first, others = next(iter(self.failures.values())), len(self.failures) - 1
        super().__init__(f"{first} (and {others:,} more prompts have no answer)" if others else first)


@runtime_checkable
class LanguageModel(Protocol):
    """Prompts → answers."""

    #: Whether ``Prompt.task`` and ``Prompt.facts`` change the answer (they are then part of the store's key).
    reads_facts: bool

    @property
    def identity(self) -> str:
        """Everything outside prompt and sampling that answers depend on, without secrets. Keys the lore store."""
        ...

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and completion together; None = not known, or no limit."""
        ...

    def count_tokens(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        """int64 [n], tokens of each prompt as it would be sent (an estimate where the tokenizer is not at hand)."""
        ...

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; 0 for a local model, None = not known."""
        ...

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        """(index into ``prompts``, answer), each as soon as it is there, until every prompt has had its turn.

        Closing the iterator stops the work.

        Raises: PromptError: some prompts have no answer; when all others are yielded. What keeps any prompt from being
            answered (a server that is gone, a budget that is spent): after what was in flight is yielded.
        """
        ...


def generate_all(model: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
    """Answers in the order of ``prompts``."""
    answers = dict(model.generate(prompts, sampling))
    return [answers[i] for i in range(len(prompts))]
