"""Several families in one training: an epoch reads each family's pairs so many times, each with a prompt by chance."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from seqlore.config import Config
from seqlore.glm.texts import Example
from seqlore.tasks.material import Material, write
from seqlore.tasks.naming import Naming
from seqlore.tasks.prompts import FAMILIES, Family, Prompt, PromptFile, load_prompts
from seqlore.tasks.room import Room
from seqlore.tasks.split import Pairs


class MixtureConfig(Config):
    """What an epoch is made of."""

    ratios: dict[Family, float] = Field(
        default_factory=lambda: dict.fromkeys(FAMILIES, 1.0),
        description="Examples of an epoch, as a multiple of a family's training pairs; 0.1 reads a tenth, drawn anew.",
    )
    evenly: Literal["events", "users"] = Field(
        default="events",
        description="Over what pairs are drawn evenly: as they are, so that who has many events is read most; over "
        "users, as in a test that holds out one event of each.",
    )
    latest: float = Field(
        default=1.0, gt=0, le=1, description="Share of each user's training pairs, the latest, that are drawn from."
    )
    weights: dict[Family, Annotated[float, Field(gt=0)]] = Field(
        default={},
        description="Of a family's texts in the loss, beside the others of a batch; 1 where none is given, as for "
        "masked histories. Where families share AdamW's steps, one with small gradients learns slowly.",
    )
    prompts: dict[Family, str] = Field(default={}, description="Prompt files in place of the built-in ones.")
    lists: float = Field(default=0.2, ge=0, le=1, description="Share of item questions that show a list of candidates.")
    hints: float = Field(default=0.5, ge=0, le=1, description="Share of explanations that are asked with a hint word.")

    @model_validator(mode="after")
    def _some(self) -> MixtureConfig:
        if min(self.ratios.values(), default=0) < 0 or not any(self.ratios.values()):
            raise ValueError(f"ratios = {self.ratios}: none may be negative, and one must be positive")
        return self


class Mixture:
    """Examples of several families, epoch by epoch. All is a function of seed and epoch.

    Attributes: room: what the model reads, once that is known; None = any length.
    """

    def __init__(self, material: Material, naming: Naming, config: MixtureConfig | None = None, seed: int = 0) -> None:
        self.material, self.naming, self.config, self.seed = material, naming, config or MixtureConfig(), seed
        self.room: Room | None = None

    @property
    def families(self) -> list[Family]:
        """Those that are read."""
        return [f for f, ratio in self.config.ratios.items() if ratio > 0]

    def weight(self, example: Example) -> float:
        """Of an example in the loss."""
        return self.config.weights.get(example.task, 1.0)  # type: ignore[call-overload]

    def prompts(self, family: Family) -> PromptFile:
        """The family's prompt file."""
        return load_prompts(self.config.prompts.get(family, family))

    @cached_property
    def _pairs(self) -> dict[Family, Pairs]:
        return {family: self.material.pairs(family, "train") for family in self.families}

    def counts(self) -> dict[Family, int]:
        """Examples of an epoch."""
        return {f: max(1, round(self.config.ratios[f] * len(self._pairs[f]))) for f in self.families}

    def epoch(self, number: int) -> Iterable[Example]:
        """The examples of an epoch in an order by chance, made in pieces as they are asked for."""
        rng = np.random.default_rng((self.seed, number))
        drawn: list[tuple[Family, np.ndarray]] = []
        for family, n in self.counts().items():
            index = self._drawn(self._pairs[family], n, rng)
            drawn.extend((family, index[a : a + PIECE]) for a in range(0, n, PIECE))
        # Pieces, not examples, are put in order: a batch is drawn from several of them.
        for place in rng.permutation(len(drawn)):
            family, index = drawn[place]
            yield from self._written(family, index, rng)

    def _drawn(self, pairs: Pairs, n: int, rng: np.random.Generator) -> np.ndarray:
        """int64 [n], places of pairs; none comes again before all have come, of users no user."""
        _, counts = np.unique(pairs.of, return_counts=True)
        some = np.ceil(self.config.latest * counts).astype(np.int64)
        ends = np.cumsum(counts)
        if self.config.evenly == "users":
            users = _in_turn(len(counts), n, rng)
            return ends[users] - 1 - np.floor(rng.random(n) * some[users]).astype(np.int64)
        late = np.arange(len(pairs)) >= np.repeat(ends - some, counts)
        return np.flatnonzero(late)[_in_turn(int(some.sum()), n, rng)]

    def held(self, most: int) -> list[Example]:
        """Of each family at most so many validation pairs, drawn by the seed, asked by its first prompt."""
        out: list[Example] = []
        for family in self.families:
            pairs = self.material.pairs(family, "valid").some(most, self.seed)
            prompts = [self.prompts(family).of(seen=True)[0]] * len(pairs)
            out += write(self.material, self.naming, family, pairs, prompts, seed=self.seed, room=self.room)
        return out

    def _written(self, family: Family, index: np.ndarray, rng: np.random.Generator) -> list[Example]:
        file, pairs = self.prompts(family), self._pairs[family].take(index)
        share = {"explanation": self.config.hints}.get(family, self.config.lists)
        special = next((v for v in file.variants if v), None)
        chosen: list[Prompt] = []
        for draw in rng.random(len(index)):
            ways = file.of(special if special is not None and draw < share else "", seen=True)
            chosen.append(ways[int(rng.integers(len(ways)))])
        seed = int(rng.integers(2**31))
        return write(self.material, self.naming, family, pairs, chosen, seed=seed, room=self.room)


def _in_turn(size: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """int64 [n], each of ``size`` once in an order by chance, then again in another one."""
    whole, rest = divmod(n, size)
    return np.concatenate([*(rng.permutation(size) for _ in range(whole)), rng.permutation(size)[:rest]])


#: Examples of one family that are written together.
PIECE = 512
