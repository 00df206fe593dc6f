"""From the events of one split to what the families ask and what they want to hear.

What a prompt may tell of an event is its own stars, hint word and review, where the family hands them over
(explanation: stars, and the hint if asked; review: the text that is to be summed up): these come from the held-out
review itself, as in P5, and tables must say so. All else (histories, and the features that can be a hint) is of earlier
events.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqlore.config import Config
from seqlore.errors import ConfigError, DataError
from seqlore.evaluation.candidates import shuffled, target_and_unseen
from seqlore.glm.texts import Entity, Example
from seqlore.lore.extractive.english import clean
from seqlore.lore.prompts.template import Template
from seqlore.tasks.averages import Averages
from seqlore.tasks.features import Explanation, FeatureConfig, FeatureExtractor
from seqlore.tasks.naming import Naming
from seqlore.tasks.prompts import Family, Prompt, Value, Words, fill
from seqlore.tasks.room import Room
from seqlore.tasks.split import Pairs, Part, TaskSplit


class MaterialConfig(Config):
    """What is told."""

    max_items: int = Field(default=10, ge=1, description="Latest items of a history that are told.")
    rated_items: int | None = Field(
        default=None,
        ge=0,
        description="The same in the rating family, with their stars; None = as many.",
    )
    review_words: int = Field(default=80, ge=1, description="First words of a review that are told.")
    sentence_words: int = Field(
        default=20, ge=1, description="First words of an explanation that are asked for, and judged in any answer."
    )
    summary_words: int = Field(default=12, ge=1, description="The same of a summary.")
    candidates: int = Field(default=19, ge=1, description="Wrong items in a list that a prompt shows.")
    averages: bool = Field(
        default=False,
        description="Tell the rating family average stars: of the item; of the user, in general, lately, for its like.",
    )
    user_features: tuple[str, ...] | None = Field(
        default=None,
        description="Columns of users.parquet that tell who a user is, where users are no ids; None = all.",
    )
    features: FeatureConfig = Field(default_factory=FeatureConfig, description="Of explanations.")


class Material:
    """What is known of the events of one split."""

    def __init__(self, tasks: TaskSplit, config: MaterialConfig | None = None) -> None:
        self.tasks, self.config = tasks, config or MaterialConfig()
        tasks.split.dataset.user_columns(self.config.user_features)  # a misspelt one is told before any row is fitted
        self._explained: dict[int, Explanation | None] = {}

    @cached_property
    def reviews(self) -> list[str]:
        """[interactions]."""
        return self.tasks.texts("review")

    @cached_property
    def summaries(self) -> list[str]:
        """[interactions]."""
        return self.tasks.texts("summary")

    @cached_property
    def averages(self) -> Averages:
        """Of the training part's stars."""
        return Averages(self.tasks)

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """Made from the reviews of the training part."""
        return FeatureExtractor((self.reviews[r] for r in self.tasks.train.rows.tolist()), self.config.features)

    def explanation(self, row: int) -> Explanation | None:
        """The explanation in the review at a row."""
        if row not in self._explained:
            self._explained[row] = self.extractor.explain(self.reviews[row])
        return self._explained[row]

    def pairs(self, family: Family, part: Part) -> Pairs:
        """Those of a part that have what the family asks for and about; a history of an event for items.

        Raises: DataError: none has, or the data lacks the column.
        """
        pairs = self.tasks.part(part)
        try:
            keep = self._fit_for(family, pairs)
            if not keep.any() and part != "valid":
                raise DataError(f"{self.tasks.split.dataset.name}: no event of the {part} part fits this family")
        except DataError as error:
            raise DataError(
                f"{error}; leave {family!r} out of evaluation.families, and of mixture.ratios of the models"
            ) from error
        return pairs.take(keep)

    def _fit_for(self, family: Family, pairs: Pairs) -> NDArray[np.bool_]:
        """bool [n], which of the pairs a family can ask about."""
        rows = pairs.rows.tolist()
        if family in ("rating", "explanation"):
            _ = self.tasks.ratings
        if family == "rating":
            return np.ones(len(pairs), bool)
        if family == "explanation":
            return np.array([self.explanation(r) is not None for r in rows], bool)
        if family == "review":
            return np.array([bool(self.reviews[r].strip() and self.summaries[r].strip()) for r in rows], bool)
        return pairs.at > pairs.sequences.offsets[:-1][pairs.of]

    def values(self, families: Collection[Family]) -> set[str]:
        """The words and numbers that prompts of these families tell as entities, beside users and items."""
        out: set[str] = set()
        if "explanation" in families:
            out |= self.extractor.words
        return out | set(self.numbers(families))

    def numbers(self, families: Collection[Family]) -> list[str]:
        """Those among them that are numbers, in rising order."""
        return Averages.told() if "rating" in families and self.config.averages else []

    def words(self, family: Family) -> int | None:
        """Most words of an answer, in references and in what any model writes; None = it is no text."""
        return {"explanation": self.config.sentence_words, "review": self.config.summary_words}.get(family)

    def told_items(self, family: Family) -> int:
        """Most items of a history that a question tells."""
        rated = self.config.rated_items if family == "rating" else None
        return self.config.max_items if rated is None else rated

    def candidates(self, pairs: Pairs, n: int, seed: int) -> NDArray[np.int32]:
        """int32 [pairs, n + 1], the target and n items that the history has not, in index order."""
        return target_and_unseen(pairs.cases(), n, size=self.tasks.split.catalog.size, seed=seed)

    def answer(self, family: Family, item: int, row: int) -> str | int:
        """What is right: stars, a sentence, a summary, or the dense index of an item."""
        if family == "rating":
            return str(int(self.tasks.ratings[row]))
        if family == "explanation":
            found = self.explanation(row)
            assert found is not None  # pairs() leaves out the others
            return first_words(found.sentence, self.words(family))
        if family == "review":
            return first_words(clean(self.summaries[row]), self.words(family))
        return item


def write(
    material: Material,
    naming: Naming,
    family: Family,
    pairs: Pairs,
    prompts: list[Prompt],
    *,
    candidates: NDArray[np.integer] | None = None,
    seed: int = 0,
    room: Room | None = None,
) -> list[Example]:
    """Questions with their answers, one a pair; what is longer than ``room`` is cut, see :mod:`seqlore.tasks.room`.

    Args: prompts: one a pair. candidates: [n, c] that a prompt with ``{candidates}`` lists, in an order by ``seed``;
        None = as many as the settings say, drawn by it.

    Raises: ConfigError: a question has no room even without history and review; a prompt has no place for averages that
        are to be told.
    """
    if candidates is None and any("candidates" in p.template.names for p in prompts):
        candidates = material.candidates(pairs, material.config.candidates, seed)
    lists = None if candidates is None else shuffled(candidates, seed)
    told = pairs.histories(material.told_items(family))
    averages = material.averages.of(pairs) if family == "rating" and material.config.averages else None
    asked: list[tuple[Template, Mapping[str, Value], Words]] = []
    for i, (user, item, row) in enumerate(pairs):
        names = prompts[i].template.names
        values: dict[str, Value] = {"user": [naming.user(user)], "item": [(naming.item(item),)]}
        if averages is not None:
            told_of = {f"{name}_average": each for name, each in averages._asdict().items()}
            if names.isdisjoint(told_of):
                raise ConfigError(
                    f"prompt {prompts[i].name}: material.averages is set and the prompt has no place for any; add "
                    f"{', '.join(f'{{{name}}}' for name in told_of)}, or leave averages out"
                )
            values |= {name: [(Entity(f"{round(float(each[i]), 1) + 0.0}"),)] for name, each in told_of.items()}
        if "history" in names:
            a, b = told.offsets[i], told.offsets[i + 1]
            assert told.rows is not None
            values["history"] = _history(material, naming, family, told.items[a:b], told.rows[a:b])
        if lists is not None:
            values["candidates"] = [(naming.item(int(c)),) for c in lists[i] if c]
        values |= _own(material, names, row)
        answer = material.answer(family, item, row)
        target: Words = (naming.item(answer),) if isinstance(answer, int) else (answer,)
        asked.append((prompts[i].template, values, target))
    out = [Example.of(fill(template, values), target, family) for template, values, target in asked]
    for i in [] if room is None else room.over(out):
        assert room is not None
        out[i] = room.shortened(*asked[i], family)
    return out


def _history(material: Material, naming: Naming, family: Family, items: NDArray, rows: NDArray) -> Value:
    """Items as entities; the rating family tells their stars as well."""
    named = [naming.item(int(i)) for i in items]
    if family != "rating":
        return [(each,) for each in named]
    stars = material.tasks.ratings[rows].astype(int).tolist()
    return [(each, f" {n}") for each, n in zip(named, stars, strict=True)]


def _own(material: Material, names: set[str], row: int) -> Mapping[str, Value]:
    """What the family hands over of the event itself."""
    out: dict[str, Value] = {}
    if "stars" in names:
        out["stars"] = [(str(int(material.tasks.ratings[row])),)]
    if "hint" in names and (found := material.explanation(row)) is not None:
        out["hint"] = [(Entity(found.feature),)]
    if "review" in names:
        out["review"] = [(first_words(clean(material.reviews[row]), material.config.review_words),)]
    return out


def first_words(text: str, most: int | None) -> str:
    """At most so many words of a text, single blanks between them."""
    return " ".join(text.split()[:most])
