"""Language models for tests. Run as a script, it fills a store until it is done or killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqlore.lore import Answer, Prompt, Sampling
from seqlore.lore.model import PromptError


class FakeModel:
    """Says "re: " and the prompt's text. A token is a word.

    Attributes:
        asked: the texts of all prompts that it was asked, in order; ``log``: a file that gets a line for each as well.
    """

    def __init__(
        self,
        *,
        reads_facts: bool = False,
        identity: str = "fake",
        context: int | None = None,
        cost: float | None = 0.0,
        in_flight: int = 8,
        log: Path | None = None,
        fails_at: str | None = None,
        refuses: Collection[str] = (),
    ) -> None:
        """Args: fails_at: the prompt at which everything ends. refuses: prompts that have no answer."""
        self.reads_facts, self.identity, self.context, self.cost = reads_facts, identity, context, cost
        self.in_flight, self.log, self.fails_at, self.refuses = in_flight, log, fails_at, refuses
        self.asked: list[str] = []
        self.prompts: list[Prompt] = []

    def count_tokens(self, prompts: Sequence[Prompt]) -> NDArray[np.int64]:
        return np.array([4 + len(f"{p.system} {p.text}".split()) for p in prompts], np.int64)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return None if self.cost is None else self.cost * (prompt_tokens + completion_tokens)

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[tuple[int, Answer]]:
        """The prompts of a batch are asked at once, and answered last first."""
        failures = {i: f"no word to {prompt.text!r}" for i, prompt in enumerate(prompts) if prompt.text in self.refuses}
        for start in range(0, len(prompts), self.in_flight):
            batch = list(enumerate(prompts))[start : start + self.in_flight]
            self.prompts += [prompt for _, prompt in batch]
            self.asked += [prompt.text for _, prompt in batch]
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write("".join(prompt.text + "\n" for _, prompt in batch))
            for i, prompt in reversed(batch):
                if prompt.text == self.fails_at:
                    raise RuntimeError("the server has gone away")
                if i in failures:
                    continue
                texts = tuple(self.answer(prompt, n) for n in range(sampling.n))
                tokens = sum(len(text.split()) for text in texts)
                price = self.price(len(prompt.text.split()), tokens)
                yield i, Answer(texts, ("stop",) * sampling.n, len(prompt.text.split()), tokens, 0.5, price)
        if failures:
            raise PromptError(failures)

    def answer(self, prompt: Prompt, n: int) -> str:
        return f"re: {prompt.text}" + (f" #{n}" if n else "")


if __name__ == "__main__":
    from seqlore.lore.store import LoreStore

    store, log, n = sys.argv[1:]
    prompts = [Prompt(f"prompt {i}") for i in range(int(n))]
    for told in LoreStore(store).ask(FakeModel(log=Path(log)), prompts, Sampling()):
        assert told.answer.texts == (f"re: prompt {told.index}",)
    print("done", os.getpid())
