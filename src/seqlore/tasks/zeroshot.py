"""The families asked of a language model as it is: the T0, GPT-2, ChatGPT and GPT-4 rows of Chu et al. 2023's tables.

Through any :class:`seqlore.lore.model.LanguageModel`. It is asked the same prompts in words, with a system message on
the form of the answer. What it says is read leniently: the first number from 1 to 5; titles in the order in which they
are named (:mod:`seqlore.tasks.reading`). What an answer does not name is not listed: if it was right, that is a miss.
An answer without a number counts as ``default`` stars. ``unread`` counts answers in which nothing was found.
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
from seqlore.tasks.reading import Titles as Readable

_STAR = re.compile(r"(?<![\d.])[1-5](?![\d]|\.\d)")


class ZeroShot:
    """A language model as it is.

    Attributes: unread: "rating", "lists" or "catalogue" → answers in which nothing was found. room: None, as of any
    length: what a hosted model reads is not known here.
    """

    def __init__(
        self, model: LanguageModel, naming: Titles, *, default: int = 4, sampling: Sampling | None = None
    ) -> None:
        """Args: default: stars where the answer has none; the rounded mean of the training part, say."""
        self.model, self.naming, self.default = model, naming, default
        self.sampling = sampling or Sampling(max_tokens=256)
        self.unread: dict[str, int] = {}
        self.room = None

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
        """0, −1, −2, … in the order in which candidates are named; −∞ for those that are not."""
        out = np.full(candidates.shape, -np.inf)
        for row, said, listed in zip(out, self.answers(asked), candidates.tolist(), strict=True):
            places = Readable((i, self.naming.item(i).text) for i in listed if i).named(said)
            self._count("lists", not places)
            for rank, item in enumerate(places):
                row[listed.index(item)] = -rank
        return out

    def search(self, asked: Sequence[Example], seen: Sequences, k: int) -> NDArray[np.integer]:
        """The titles of the catalogue that stand by themselves in the answer, seen ones left out."""
        out = np.zeros((len(asked), k), np.int64)
        for i, said in enumerate(self.answers(asked)):
            named = self._catalogue.named(said, apart=True)
            self._count("catalogue", not named)
            had = set(seen[i].tolist())
            found = [item for item in named if item not in had][:k]
            out[i, : len(found)] = found
        return out

    @cached_property
    def _catalogue(self) -> Readable:
        return Readable((e.item, e.text) for e in self.naming.items if e.text)

    def _count(self, what: str, missing: bool) -> None:
        self.unread[what] = self.unread.get(what, 0) + missing


def _systems() -> dict[str, str]:
    return tomllib.loads(files("seqlore.tasks.prompts").joinpath("zero-shot.toml").read_text("utf-8"))
