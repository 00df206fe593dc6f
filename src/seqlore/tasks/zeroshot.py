"""The families asked of a language model as it is: the T0, GPT-2, ChatGPT and GPT-4 rows of Chu et al. 2023's tables.

Through any :class:`seqlore.lore.model.LanguageModel`. It is asked the same prompts in words, with a system message on
the form of the answer. What it says is read leniently: the first number from 1 to 5; titles in the order in which they
are named. An answer without any is not thrown away: it counts as ``default`` stars, or as a miss. ``unread`` counts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from seqlore.data import Sequences
from seqlore.glm.texts import Blank, Example, one_line
from seqlore.lore.model import LanguageModel, Prompt, Sampling, generate_all
from seqlore.tasks.naming import Titles
from seqlore.tasks.prompts import as_text

_STAR = re.compile(r"(?<![\d.])[1-5](?![\d]|\.\d)")


class ZeroShot:
    """A language model as it is. Attributes: unread: family → answers in which nothing was found."""

    def __init__(
        self, model: LanguageModel, naming: Titles, *, default: int = 4, sampling: Sampling | None = None
    ) -> None:
        """Args: default: stars where the answer has none; the rounded mean of the training part, say."""
        self.model, self.naming, self.default = model, naming, default
        self.sampling = sampling or Sampling(max_tokens=256)
        self.unread: dict[str, int] = {}

    def answers(self, asked: Sequence[Example]) -> list[str]:
        """What it says."""
        system = _systems()
        prompts = [
            Prompt(as_text(tuple(p for p in e.text if not isinstance(p, Blank))), system[e.task], f"tasks-{e.task}")
            for e in asked
        ]
        return [answer.texts[0].strip() for answer in generate_all(self.model, prompts, self.sampling)]

    def stars(self, asked: Sequence[Example]) -> NDArray[np.floating]:
        """0 for what it says, −∞ for all else: it gives no likelihoods, so both kinds of RMSE are one."""
        out = np.full((len(asked), 5), -np.inf)
        for row, said in zip(out, self.answers(asked), strict=True):
            found = _STAR.search(said)
            self._count("rating", found is None)
            row[int(found[0]) - 1 if found else self.default - 1] = 0.0
        return out

    def write(self, asked: Sequence[Example]) -> list[str]:
        """The answer on one line."""
        return [one_line(said) for said in self.answers(asked)]

    def score(self, asked: Sequence[Example], candidates: NDArray[np.integer]) -> NDArray[np.floating]:
        """1, ½, ⅓, … in the order in which candidates are named; 0 for those that are not."""
        out = np.zeros(candidates.shape)
        for row, said, listed in zip(out, self.answers(asked), candidates.tolist(), strict=True):
            places = named(said, {i: self.naming.item(i).text for i in listed if i})
            self._count("lists", not places)
            for rank, item in enumerate(places, start=1):
                row[listed.index(item)] = 1 / rank
        return out

    def search(self, asked: Sequence[Example], seen: Sequences, k: int) -> NDArray[np.integer]:
        """The lines of the answer that are titles of the catalogue, seen ones left out."""
        out = np.zeros((len(asked), k), np.int64)
        for i, said in enumerate(self.answers(asked)):
            lines = [re.sub(r"^\s*(?:\d+[.)]|[-*•])\s*", "", line).strip().lower() for line in said.splitlines()]
            had = set(seen[i].tolist())
            found = [item for line in lines if (item := self._by_title.get(line)) and item not in had]
            self._count("catalogue", not found)
            found = list(dict.fromkeys(found))[:k]
            out[i, : len(found)] = found
        return out

    @cached_property
    def _by_title(self) -> dict[str, int]:
        return {one_line(e.text).lower(): e.item for e in reversed(self.naming.items) if e.text}

    def _count(self, what: str, missing: bool) -> None:
        self.unread[what] = self.unread.get(what, 0) + missing


def named(said: str, titles: dict[int, str]) -> list[int]:
    """The items whose title stands in an answer, in that order; a title within a longer one that is named is not."""
    text = one_line(said).lower()
    taken = np.zeros(len(text), bool)
    found: list[tuple[int, int]] = []
    for item, title in sorted(titles.items(), key=lambda each: -len(each[1])):
        words = re.escape(one_line(title).lower())
        for match in re.finditer(rf"(?<!\w){words}(?!\w)", text):
            if not taken[slice(*match.span())].any():
                taken[slice(*match.span())] = True
                found.append((match.start(), item))
                break
    return [item for _, item in sorted(found)]


def _systems() -> dict[str, str]:
    return tomllib.loads(files("seqlore.tasks.prompts").joinpath("zero-shot.toml").read_text("utf-8"))
