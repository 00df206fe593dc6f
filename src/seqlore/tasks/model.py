"""What the five families need of a model, and how it is judged: one prompt at a time, on the one test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqlore.config import Config
from seqlore.data import Sequences
from seqlore.evaluation import metrics
from seqlore.glm.texts import Example
from seqlore.tasks.material import Material, write
from seqlore.tasks.naming import Naming
from seqlore.tasks.prompts import FAMILIES, Family, Prompt, PromptFile, load_prompts, scrambled
from seqlore.tasks.room import Room
from seqlore.tasks.scores import Scores, list_scores, place_scores, star_scores, text_scores
from seqlore.tasks.split import Pairs


class TaskModel(Protocol):
    """Answers examples whose blanks it does not look into."""

    @property
    def naming(self) -> Naming:
        """How users and items are written in its prompts."""
        ...

    @property
    def room(self) -> Room | None:
        """What it reads; None = any length."""
        ...

    def stars(self, asked: Sequence[Example]) -> NDArray[np.floating]:
        """[n, 5], log-probabilities of 1 … 5 stars; any constant may be added to a row."""
        ...

    def write(self, asked: Sequence[Example]) -> list[str]:
        """[n], free text."""
        ...

    def score(self, asked: Sequence[Example], candidates: NDArray[np.integer]) -> NDArray[np.floating]:
        """[n, c], log-probabilities of items as the answer; 0 pads."""
        ...

    def search(self, asked: Sequence[Example], seen: Sequences, k: int) -> NDArray[np.integer]:
        """int [n, k], items of the whole catalogue that are not in ``seen``, best first, 0 where there are fewer."""
        ...


class TaskEvaluation(Config):
    """What is asked."""

    families: tuple[Family, ...] = Field(default=FAMILIES, min_length=1, description="Those that are judged.")
    cases: int | None = Field(default=None, ge=1, description="At most so many of each family; None = all.")
    wrong: int = Field(default=99, ge=1, description="Wrong items beside the right one, of direct recommendation.")
    at: tuple[int, ...] = Field(default=(1, 5, 10), description="Cut-offs of lists.")
    scrambled: bool = Field(default=False, description="Ask a scrambled instruction as well, the control.")
    prompts: dict[Family, str] = Field(default={}, description="Prompt files in place of the built-in ones.")
    seed: int = Field(default=0, description="Of the sample of cases, of wrong items and of scrambling.")


def sample(material: Material, family: Family, config: TaskEvaluation) -> Pairs:
    """The test pairs of a family, or as many of them as are asked for; the same for every model."""
    return material.pairs(family, "test").some(config.cases, config.seed)


def ways(file: PromptFile, config: TaskEvaluation) -> list[tuple[str, Prompt]]:
    """(kind, prompt): of each variant the first seen one, the unseen one, and the latter scrambled if asked for."""
    out = []
    for variant in file.variants:
        unseen = file.of(variant, seen=False)[0]
        chosen = [("seen", file.of(variant, seen=True)[0]), ("unseen", unseen)]
        chosen += [("scrambled", scrambled(unseen, config.seed))] if config.scrambled else []
        out += [(f"{variant} {kind}".strip(), prompt) for kind, prompt in chosen]
    return out


def evaluate(
    model: TaskModel, material: Material, config: TaskEvaluation | None = None
) -> dict[str, dict[str, Scores]]:
    """Family → way of asking → scores."""
    config = config or TaskEvaluation()
    out: dict[str, dict[str, Scores]] = {}
    for family in config.families:
        pairs, file = sample(material, family, config), load_prompts(config.prompts.get(family, family))
        out[family] = {kind: _one(model, material, family, pairs, p, config) for kind, p in ways(file, config)}
    return out


def _one(
    model: TaskModel, material: Material, family: Family, pairs: Pairs, prompt: Prompt, config: TaskEvaluation
) -> Scores:
    asked, listed = _asked(model, material, family, pairs, prompt, config)
    if family == "rating":
        return star_scores(model.stars(asked), material.tasks.ratings[pairs.rows])
    if listed is not None:
        return list_scores(model.score(asked, listed), listed, pairs.items, config.at)
    if family == "sequential":
        found = model.search(asked, pairs.histories(), max(config.at))
        return place_scores(metrics.positions(found, pairs.items), config.at)
    right = [str(material.answer(family, item, row)) for _, item, row in pairs]
    return text_scores(model.write(asked), right, words=material.words(family))


def _asked(
    model: TaskModel, material: Material, family: Family, pairs: Pairs, prompt: Prompt, config: TaskEvaluation
) -> tuple[list[Example], NDArray[np.integer] | None]:
    """(questions, the candidates of each if there are any).

    Direct recommendation is among ``wrong`` candidates also where the prompt lists them, if that cuts no question;
    else, as in the sequential family, among as many as the material says.
    """

    def written(room: Room | None) -> list[Example]:
        every = [prompt] * len(pairs)
        out = write(material, model.naming, family, pairs, every, candidates=listed, seed=config.seed, room=room)
        return [Example(each.question, each.task) for each in out]

    listed, shown = None, "candidates" in prompt.template.names
    if family == "direct":
        listed = material.candidates(pairs, config.wrong, config.seed)
        if not shown:
            return written(model.room), listed
        whole = written(None)
        if model.room is None or not model.room.over(whole):
            return whole, listed
    if shown:
        listed = material.candidates(pairs, material.config.candidates, config.seed)
    return written(model.room), listed
