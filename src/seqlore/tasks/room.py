"""Questions that are longer than a model reads are cut: the oldest events of the history go first, then the review's
last words, then the sentence about the user. The question's own words, its item, its list and its blank stay.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from seqlore.errors import ConfigError
from seqlore.glm.texts import Entity, Example, Text
from seqlore.lore.prompts.template import Template
from seqlore.tasks.prompts import Value, Words, fill


class NoRoomError(ConfigError):
    """A question is too long even when all has been cut that may be."""


class Room:
    """What a model reads. Attributes: longest: tokens of a question. cut: family → questions that were cut."""

    def __init__(
        self, lengths: Callable[[Sequence[Text]], NDArray[np.integer]], longest: int, answer: int | None = None
    ) -> None:
        """Args: lengths: texts → tokens of each. answer: most tokens of an answer; None = any number."""
        self.lengths, self.longest, self.answer = lengths, longest, answer
        self.cut: Counter[str] = Counter()

    def over(self, asked: Sequence[Example]) -> list[int]:
        """Which examples have too long a question or answer."""
        if not asked:
            return []
        long = self.lengths([e.question for e in asked]) > self.longest
        if self.answer is not None:
            long |= self.lengths([e.text[-1].hidden for e in asked]) > self.answer  # type: ignore[union-attr]
        return np.flatnonzero(long).tolist()

    def shortened(self, template: Template, values: Mapping[str, Value], target: Words, family: str) -> Example:
        """An example with as much of the history, the review and the user as there is room for, in this order.

        Raises: NoRoomError: the rest of the question has no room.
        """
        if self.answer is not None and not self._fits(target, self.answer):
            target = self._cut_answer(target, self.answer)
        left = dict(values)

        def made(name: str, drop: int) -> Words:
            return fill(template, {**left, name: _less(name, left[name], drop)})

        def fits(words: Words) -> bool:
            return self._fits(Example.of(words, ()).text, self.longest)

        words = fill(template, left)
        if not fits(words):
            self.cut[family] += 1
        for name in ("history", "review", "user"):
            if fits(words):
                return Example.of(words, target, family)
            if name in template.names and left.get(name):
                most = _units(name, left[name])
                drop = 1 + bisect_left(range(1, most), True, key=lambda n, name=name: fits(made(name, n)))
                words = made(name, drop)
                left[name] = _less(name, left[name], drop)
        if not fits(words):
            n = int(self.lengths([Example.of(words, ()).text])[0])
            raise NoRoomError(
                f"a question of the family {family!r} takes {n} tokens without history and review, and the body reads "
                f"{self.longest}: lower candidates or title_words, or take a body with a longer context"
            )
        return Example.of(words, target, family)

    def _fits(self, text: Text, most: int) -> bool:
        return int(self.lengths([text])[0]) <= most

    def _cut_answer(self, target: Words, most: int) -> Words:
        """Plain answers lose their end; that a title is too long is a fault of the settings."""
        if any(isinstance(p, Entity) for p in target):
            raise NoRoomError(f"a title takes more than the {most} tokens that the body writes: lower title_words")
        text = "".join(p for p in target if isinstance(p, str))
        drop = bisect_left(range(len(text)), True, key=lambda n: self._fits((text[: len(text) - n],), most))
        return (text[: len(text) - drop],)


def _units(name: str, value: Value) -> int:
    """What a value can lose: events, words, or itself."""
    return len(str(value[0][0]).split()) if name == "review" else len(value)


def _less(name: str, value: Value, drop: int) -> Value:
    """A value without ``drop`` of its units; those that are dropped first stand first, of a review last."""
    if name != "review":
        return value[drop:]
    words = str(value[0][0]).split()
    return [(" ".join(words[: len(words) - drop]),)] if drop < len(words) else []
