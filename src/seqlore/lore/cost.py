"""What asking a language model costs: an estimate before anything is asked, and a budget that is not overrun.

A budget counts a request in full, with the longest completion it may get, from before it is sent until its answer
says what was really used. A request whose answer was lost (cut off, timed out) stays counted in full, because a
server may bill what it could not deliver.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from seqlore.errors import ConfigError, SeqloreError
from seqlore.lore.model import LanguageModel, Prompt, Sampling

#: Bytes of UTF-8 a token, where the tokenizer is not at hand: low, so that the estimate is rather high. Byte-pair
#: vocabularies of today get about 4 ASCII characters into a token, and 1 to 2 of other scripts.
ASCII_BYTES, OTHER_BYTES = 3.5, 2.5


def estimate_tokens(text: str) -> int:
    """About how many tokens ``text`` has: ``⌈ASCII bytes / 3.5 + other bytes / 2.5⌉``."""
    encoded = text.encode("utf-8", "surrogatepass")
    plain = len(encoded) if text.isascii() else sum(byte < 128 for byte in encoded)
    return math.ceil(plain / ASCII_BYTES + (len(encoded) - plain) / OTHER_BYTES)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would take.

    Attributes:
        prompts: how many. prompt_tokens: of all, as the model counts or estimates.
        completion_tokens: at most: every completion as long as allowed.
        cost: at most, in the currency of the model's prices; 0 for a local model, None = no price is known.
    """

    prompts: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


def estimate(model: LanguageModel, prompts: Sequence[Prompt], sampling: Sampling) -> Estimate:
    """What it would cost to ask ``model`` all ``prompts``; nothing is asked. Works for every language model.

    Not in it: what is asked again after a failure, and the prompt's tokens once more for each completion where a
    server gives fewer than ``n`` at a time.
    """
    prompt_tokens = int(model.count_tokens(prompts).sum())
    completion_tokens = len(prompts) * sampling.n * sampling.max_tokens
    return Estimate(len(prompts), prompt_tokens, completion_tokens, model.price(prompt_tokens, completion_tokens))


class BudgetError(SeqloreError):
    """The next request might cost more than is left."""


class Budget:
    """Bounds on tokens and money; one budget may bound several models and threads.

    >>> budget = Budget(tokens=100)
    >>> held = budget.hold(60, None)    # before the request: the most that it may take
    >>> held.settle(25, None)           # after it: what it took
    >>> budget.tokens_spent
    25
    """

    def __init__(self, *, tokens: int | None = None, money: float | None = None) -> None:
        """Args: tokens: of prompts and completions. money: in the currency of the prices. None = no bound.

        Raises: ConfigError: a bound below zero.
        """
        if (tokens is not None and tokens < 0) or (money is not None and not money >= 0):
            raise ConfigError(f"a budget cannot be less than nothing (tokens={tokens}, money={money})")
        self.tokens, self.money = tokens, money
        self.tokens_spent, self.money_spent = 0, 0.0
        self._tokens_held, self._money_held = 0, 0.0
        self._lock = threading.Lock()

    def hold(self, tokens: int, money: float | None) -> Held:
        """Set aside what a request may take at most; ``money`` None = no price is known.

        Raises: BudgetError: that is more than is left beside what is spent and set aside. ConfigError: money is
            bounded and no price known.
        """
        if self.money is not None and money is None:
            raise ConfigError("a budget in money needs prices: set prompt_price and completion_price of the model")
        with self._lock:
            over = self.tokens is not None and self.tokens_spent + self._tokens_held + tokens > self.tokens
            if self.money is not None:  # a sum of floats may miss the bound by a rounding
                over |= self.money_spent + self._money_held + (money or 0.0) > self.money * (1 + 1e-9)
            if over:
                raise BudgetError(self._sentence(tokens, money))
            self._tokens_held += tokens
            self._money_held += money or 0.0
        return Held(self, tokens, money or 0.0)

    def _sentence(self, tokens: int, money: float | None) -> str:
        parts = []
        if self.tokens is not None:
            flying = f" and {self._tokens_held:,} set aside for what is in flight" if self._tokens_held else ""
            parts.append(f"{self.tokens_spent:,} of {self.tokens:,} tokens are spent{flying}, the next asks {tokens:,}")
        if self.money is not None:
            flying = f" and {self._money_held:.4f} set aside for what is in flight" if self._money_held > 1e-9 else ""
            next_one = f"the next asks up to {money or 0.0:.4f}"
            parts.append(f"{self.money_spent:.4f} of {self.money:.4f} in money is spent{flying}, {next_one}")
        return f"the budget does not allow the next request: {'; '.join(parts)}; raise it and run it again"


class Held:
    """Part of a budget, set aside for one request; the first call of ``settle`` counts."""

    def __init__(self, budget: Budget, tokens: int, money: float) -> None:
        self._budget, self._tokens, self._money, self._open = budget, tokens, money, True

    def settle(self, tokens: int, money: float | None) -> None:
        """Give back what was set aside and spend what was used."""
        budget = self._budget
        with budget._lock:
            if self._open:
                self._open = False
                budget._tokens_held -= self._tokens
                budget._money_held -= self._money
                budget.tokens_spent += tokens
                budget.money_spent += money or 0.0

    def lose(self) -> None:
        """Spend all of it: nobody knows what was used."""
        self.settle(self._tokens, self._money)
