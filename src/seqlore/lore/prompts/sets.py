"""Prompt sets: what a language model is asked for each task, in TOML files that users can replace.

Published formats: for item knowledge and user preference UR4Rec (Zhang, Zhu and Dou, "Enhancing Reranking for
Recommendation with LLMs through User Preference Retrieval"), section 3.1; for labels RLMRec (Ren et al.,
"Representation Learning with Large Language Models for Recommendation", 2024, arXiv 2310.15950), which ReLRec (Na et
al., "Enhancing Large Language Model Based Sequential Recommender Systems with Pseudo Labels Reconstruction"), section
2.1, takes over. The formats are theirs, the words our own. Deviation: a missing fact is left out; RLMRec writes "None".
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from seqlore.config import Config, nearest
from seqlore.errors import ConfigError
from seqlore.lore.model import Prompt, Sampling
from seqlore.lore.prompts.template import Entry, Template, Value

Task = Literal["item-knowledge", "item-attributes", "user-preference", "item-label", "user-label", "denoise", "reword"]
Facts = Mapping[str, tuple[str, ...]]

#: The facts of each task.
FACTS: dict[str, tuple[str, ...]] = {
    "item-knowledge": ("title", "brand", "categories", "description"),
    "item-attributes": ("title", "brand", "categories", "description"),
    "user-preference": ("titles", "categories", "user"),
    "item-label": ("title", "brand", "categories", "reviews"),
    "user-label": ("titles", "reviews", "profiles"),
    "denoise": ("label", "title", "reviews"),
    "reword": ("label", "variant"),
}
#: Facts of one value. Those of several have an entry for each, or, about a user, for each event, the oldest first.
SINGLE = frozenset({"title", "brand", "description", "label"})
#: Placeholders made of several facts: which entries they are made of, by the name that a part has in JSON.
JOINED: dict[str, dict[str, dict[str, str]]] = {
    "user-preference": {"history": {"title": "titles", "categories": "categories"}},
    "user-label": {"purchases": {"title": "titles", "profile": "profiles", "review": "reviews"}},
}
#: Placeholders that stand for the known ones of several facts, as one JSON object.
OBJECTS: dict[str, dict[str, tuple[str, ...]]] = {
    task: {"basics": tuple(name for name in FACTS[task] if name != "reviews")}
    for task in ("item-knowledge", "item-attributes", "item-label")
}
TEXT, JSON = "text", "json"

_FOLDER = files("seqlore.lore.prompts")


class PromptSet(Config):
    """What is asked for one task, and how the answer is read."""

    name: str = Field(min_length=1, description="Recorded beside each text.")
    task: Task
    source: str = Field(default="", description="Where format and wording come from.")
    system: str = Field(default="", description="The system message; domain words are its only placeholders.")
    prompt: str = Field(min_length=1, description="The message, see seqlore.lore.prompts.template.")
    answer: str = Field(
        default=TEXT, description='How it is read: "text", "json" (an object), or the key of the text in a JSON object.'
    )
    json_schema: dict[str, Any] | None = Field(
        default=None, description="Of the answer, for servers that hold a model to it."
    )
    words: dict[str, str] = Field(
        default={}, description="Words of the domain: more placeholders, each with its default."
    )
    wordings: tuple[str, ...] = Field(default=(), description='Of "reword": what {wording} stands for, by version.')
    sampling: Sampling = Sampling()

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if clash := sorted(self.words.keys() & self._places):
            raise ValueError(f"words: {clash[0]!r} is the name of a fact; choose another word")
        if bool(self.wordings) != (self.task == "reword"):
            raise ValueError("wordings belong to task 'reword', which needs at least one")
        for key in ("system", "prompt"):
            try:
                getattr(self, f"_{key}")
            except ConfigError as error:
                raise ValueError(f"{key}: {error}") from error
        if not self._prompt.names - self.words.keys():
            raise ValueError(f"prompt: it has none of the placeholders {', '.join(sorted(self._places))}")
        return self

    @property
    def _places(self) -> set[str]:
        own = {"wording"} if self.task == "reword" else set()
        facts = set(FACTS[self.task]) - {"variant"}
        return facts | own | JOINED.get(self.task, {}).keys() | OBJECTS.get(self.task, {}).keys()

    @cached_property
    def _system(self) -> Template:
        return Template.parse(self.system.strip(), self.words)

    @cached_property
    def _prompt(self) -> Template:
        return Template.parse(self.prompt.strip(), [*self._places, *self.words])

    @cached_property
    def digest(self) -> str:
        """16 hex digits over all that shapes prompts and answers."""
        return hashlib.sha256(json.dumps(self.model_dump(exclude={"source"}), sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def load(cls, path: str | Path) -> PromptSet:
        """The set in a TOML file, or the built-in one of that name.

        Raises: ConfigError: there is none, or it is not a prompt set; one sentence that names the file and the key.
        """
        built_in = _FOLDER.joinpath(f"{path}.toml")
        try:
            text = built_in.read_text("utf-8") if str(path) in built_in_names() else Path(path).read_text("utf-8")
            return cls.parse(tomllib.loads(text), f"prompt set {path}")
        except OSError as error:
            raise ConfigError(
                f"prompt set {path}: {error.strerror}{nearest(str(path), built_in_names())}; "
                f"built in are {', '.join(built_in_names())}"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"prompt set {path}: not TOML in UTF-8 ({error})") from error

    def with_words(self, words: Mapping[str, str]) -> PromptSet:
        """The set with other domain words. Raises: ConfigError: it has no such word."""
        for word in words:
            if word not in self.words:
                raise ConfigError(f"prompt set {self.name}: no word {word!r}{nearest(word, self.words)}")
        return PromptSet(**{**self.model_dump(), "words": {**self.words, **words}})

    def ask(self, facts: Facts) -> Prompt:
        """The prompt about ``facts``: name → values, () or absent where nothing is known."""
        told = tuple((name, facts[name]) for name in FACTS[self.task] if facts.get(name))
        values = {**self.words, **self._values(dict(told))}
        return Prompt(self._prompt.fill(values), self._system.fill(self.words), self.task, told)

    def _values(self, facts: Facts) -> dict[str, Value]:
        values: dict[str, Value] = {name: all_[0] if name in SINGLE else all_ for name, all_ in facts.items()}
        for name, parts in JOINED.get(self.task, {}).items():
            values[name] = _entries({part: facts[fact] for part, fact in parts.items() if fact in facts})
        for name, known in OBJECTS.get(self.task, {}).items():
            values[name] = {fact: ", ".join(facts[fact]) for fact in known if fact in facts}
        if self.task == "reword":
            values["wording"] = self.wordings[int(facts["variant"][0])]
        return values

    def read(self, completion: str) -> str:
        """What a completion says; "" where it is not what was asked for (no JSON, or not this key)."""
        if self.answer == TEXT:
            return completion.strip()
        try:  # models like to put words or a code fence around JSON
            said, _ = json.JSONDecoder().raw_decode(completion, completion.index("{"))
        except ValueError:
            return ""
        if self.answer == JSON:
            known = {key: value for key, value in said.items() if value not in ("", [], {}, None)}
            return json.dumps(known, ensure_ascii=False) if known else ""
        text = said.get(self.answer)
        return text.strip() if isinstance(text, str) and text.strip() != "None" else ""


def _entries(columns: Mapping[str, Sequence[str]]) -> list[Entry]:
    """Aligned facts → an entry for each position, without the parts that are empty there."""
    rows = zip(*columns.values(), strict=True)
    return [{part: value for part, value in zip(columns, row, strict=True) if value} for row in rows]


def built_in_names() -> list[str]:
    """The prompt sets that come with Seqlore."""
    return sorted(p.name.removesuffix(".toml") for p in _FOLDER.iterdir() if p.name.endswith(".toml"))


def choose(task: Task, given: Sequence[str | Path] = ()) -> PromptSet:
    """The set for ``task`` among ``given`` files and names, else the built-in one that is named like the task.

    Raises: ConfigError: a given one cannot be read, or two are for one task.
    """
    fitting = [chosen for chosen in map(PromptSet.load, given) if chosen.task == task]
    if len(fitting) > 1:
        raise ConfigError(f"two prompt sets for task {task!r} ({fitting[0].name}, {fitting[1].name}): give one")
    return fitting[0] if fitting else PromptSet.load(task)


TASKS: tuple[str, ...] = get_args(Task)
