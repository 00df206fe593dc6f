"""The language model that is none: it answers from the facts of a prompt, by counting.

Salient phrases, aspects and opinions of the texts, written into plain sentences. It is the default where no language
model is at hand, and is named as what it is: its identity begins with "extractive:". It knows nothing that the facts do
not say.

Seven tasks: item-knowledge, user-preference, item-label, user-label, item-attributes, reword, denoise. Where nothing is
known, the answer is the empty text (of item-attributes, an object without content).
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlore.config import nearest
from seqlore.errors import ConfigError
from seqlore.lore.extractive.attributes import around, as_json, attributes, plan, shortened
from seqlore.lore.extractive.background import Background
from seqlore.lore.extractive.denoise import denoise
from seqlore.lore.extractive.english import tables_digest
from seqlore.lore.extractive.tasks import TASKS, first
from seqlore.lore.extractive.wording import Statement, read, wordings
from seqlore.lore.model import Answer, Prompt, Sampling

#: Raised whenever the same facts give another text.
VERSION = 1
#: Wordings among which a temperature above zero draws the first.
VARIETY = 16

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]{1,8}|[^\w\s]|_")


class ExtractiveModel:
    """Answers from ``Prompt.task`` and ``Prompt.facts``; what ``Prompt.text`` says changes nothing.

    Tokens are its own: up to eight letters or digits in a row, or one other sign.

    Attributes:
        background: how common phrases are elsewhere; :meth:`fit` counts it.
    """

    reads_facts = True
    context: int | None = None

    def __init__(self, background: Background | None = None) -> None:
        self.background = background or Background()

    @classmethod
    def fit(cls, texts: Iterable[str]) -> ExtractiveModel:
        """Knows what is common in ``texts``, so that answers name what is not. Give it training texts alone."""
        return cls(Background.of(texts))

    @property
    def identity(self) -> str:
        """ "extractive:", the version, a digest of the word lists, and one of the background ("none" without)."""
        return f"extractive:{VERSION}:{tables_digest()}:{self.background.digest}"

    def count_tokens(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        """int64 [n], of system and user message."""
        return np.array([count(prompt.system) + count(prompt.text) for prompt in prompts], np.int64)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Nothing."""
        return 0.0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        """(index, answer), in order. ``n`` completions are ``n`` wordings, as far as there are so many.

        A temperature above zero draws the first wording by ``seed`` and the facts; ``top_p`` narrows the choice. Whole
        sentences are kept within ``max_tokens``, shortened lists before cut ones.

        Raises: ConfigError, before anything is yielded: a task that it does not know, or a JSON schema that it cannot
            fill.
        """
        known = [*TASKS, "item-attributes", "reword", "denoise"]
        for prompt in prompts:
            if prompt.task not in known:
                raise ConfigError(
                    f"the extractive model has no task {prompt.task!r}{nearest(prompt.task, known)}: it knows "
                    f"{', '.join(known)}; anything else needs a language model"
                )
            if prompt.task == "reword" and not (first(prompt, "variant") or "0").isdecimal():
                raise ConfigError(
                    f"the fact 'variant' of a reword prompt is a whole number, not {first(prompt, 'variant')!r}"
                )
        fillers = plan(sampling.json_schema) if any(p.task == "item-attributes" for p in prompts) else None
        wrap = None
        if sampling.json_schema and any(p.task != "item-attributes" for p in prompts):
            wrap = around(sampling.json_schema)
        for i, prompt in enumerate(prompts):
            start = time.perf_counter()
            if prompt.task == "item-attributes":
                text, finish = _json(attributes(prompt, self.background, fillers), sampling.max_tokens)
                texts = [text] * sampling.n
            else:
                texts, finish = self._texts(prompt, sampling, wrap)
            ended = tuple(_stopped(text, sampling.stop) for text in texts)
            yield (
                i,
                Answer(
                    texts=ended,
                    finish=(finish,) * sampling.n,
                    prompt_tokens=count(prompt.system) + count(prompt.text),
                    completion_tokens=sum(map(count, ended)),
                    seconds=time.perf_counter() - start,
                    cost=0.0,
                ),
            )

    def _texts(
        self, prompt: Prompt, sampling: Sampling, wrap: Callable[[str], dict[str, str]] | None
    ) -> tuple[list[str], str]:
        """``n`` wordings, and why they end."""
        label, start = "", 0
        if sampling.temperature > 0:
            start = _drawn(prompt, sampling.seed) % math.ceil(VARIETY * sampling.top_p)
        if prompt.task == "reword":
            label = first(prompt, "label")
            start += int(first(prompt, "variant") or 0) * sampling.n
            statements = read(label)
        elif prompt.task == "denoise":
            statements = denoise(prompt, self.background)
        else:
            statements = TASKS[prompt.task](prompt, self.background)
        budget, finish = sampling.max_tokens, "stop"
        while True:
            texts = _some_wordings(statements, start, sampling.n, label)
            if wrap is not None:
                texts = [as_json(wrap(text)) for text in texts]
            if all(count(text) <= budget for text in texts):
                return texts, finish
            statements, finish = _shorter(statements), "length"
            if not statements:
                return [_cut(text, budget) for text in texts], finish


def _drawn(prompt: Prompt, seed: int | None) -> int:
    """A number for the facts, the same for all variants of a rewording, so that these stay different."""
    facts = [fact for fact in prompt.facts if fact[0] != "variant"]
    said = repr((seed, prompt.task, facts)).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")


def _some_wordings(statements: Sequence[Statement], start: int, n: int, other_than: str) -> list[str]:
    """``n`` wordings from number ``start`` on; from the first again where there are no more."""
    new = (text for text in wordings(statements) if text != other_than or not text)
    found = list(itertools.islice(new, start + n)) or [other_than]
    return [found[(start + i) % len(found)] for i in range(n)]


def _shorter(statements: Sequence[Statement]) -> list[Statement]:
    """Without the last statement; of a single one, without its last phrase; [] if it has but one."""
    spoken = [each for each in statements if each.phrases]
    if len(spoken) > 1:
        return spoken[:-1]
    return [Statement(each.kind, each.phrases[:-1]) for each in spoken if len(each.phrases) > 1]


def _json(value: dict[str, Any], budget: int) -> tuple[str, str]:
    text, finish = as_json(value), "stop"
    while count(text) > budget:
        finish = "length"
        if (less := shortened(value)) is None:
            return _cut(text, budget), finish
        value, text = less, as_json(less)
    return text, finish


def count(text: str) -> int:
    """Tokens of a text."""
    return len(_TOKEN.findall(text))


def _cut(text: str, budget: int) -> str:
    """The first ``budget`` tokens, without a word that does not end there."""
    last = next(itertools.islice(_TOKEN.finditer(text), budget - 1, None), None)
    head = text if last is None else text[: last.end()]
    return head if head == text or text[len(head)].isspace() or " " not in head else head.rpartition(" ")[0]


def _stopped(text: str, stops: Sequence[str]) -> str:
    return text[: min((at for stop in stops if stop and (at := text.find(stop)) >= 0), default=len(text))]
