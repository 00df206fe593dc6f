"""Prompt files: several ways to ask for one family, some seen in training and one held out for each variant.

Chu et al. 2023 (arXiv 2308.10837) and P5 (Geng et al. 2022, arXiv 2203.13366) train on a collection of personalised
prompts and keep a part of them for zero-shot evaluation. The families and variants are theirs, the words our own.
"""

from __future__ import annotations

import tomllib
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
from pydantic import Field, model_validator

from seqlore.config import Config
from seqlore.errors import ConfigError
from seqlore.lore.prompts.template import Template

Family = Literal["rating", "sequential", "explanation", "review", "direct"]
FAMILIES: tuple[Family, ...] = get_args(Family)

#: What the prompts of a family may hold. ``user`` is a sentence of its own, and may be nothing; the averages are those
#: of :class:`seqlore.tasks.averages.Told`, or nothing.
PLACES: dict[Family, tuple[str, ...]] = {
    "rating": ("user", "history", "item", "item_average", "user_average", "lately_average", "alike_average"),
    "sequential": ("user", "history", "candidates"),
    "explanation": ("user", "item", "stars", "hint"),
    "review": ("user", "item", "stars", "review"),
    "direct": ("user", "history", "candidates"),
}
#: What tells a variant of a family: a placeholder that its prompts have and the others have not.
VARIANTS: dict[Family, dict[str, str]] = {
    "sequential": {"candidates": "candidates"},
    "explanation": {"hint": "hint"},
    "direct": {"candidates": "candidates"},
}


class Prompt(Config):
    """One way to ask."""

    name: str = Field(min_length=1, description="In results.")
    seen: bool = Field(default=True, description="Learned from; else it is for evaluation alone.")
    prompt: str = Field(min_length=1, description="Template, see seqlore.lore.prompts.template.")

    @cached_property
    def template(self) -> Template:
        """Parsed; any family's placeholders."""
        return Template.parse(self.prompt.strip(), sorted({p for places in PLACES.values() for p in places}))


class PromptFile(Config):
    """All prompts of a family."""

    family: Family
    source: str = Field(default="", description="Where format and wording come from.")
    prompts: tuple[Prompt, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        names = [p.name for p in self.prompts]
        if len(set(names)) < len(names):
            raise ValueError("two prompts have one name: give each its own")
        for each in self.prompts:
            try:
                Template.parse(each.prompt, PLACES[self.family])
            except ConfigError as error:
                raise ValueError(f"{each.name}: {error}") from error
        for variant in self.variants:
            kinds = [p.seen for p in self.of(variant)]
            if not any(kinds) or all(kinds):
                raise ValueError(f"variant {variant or 'plain'!r} needs prompts to learn from and one held out")
        return self

    def variant(self, prompt: Prompt) -> str:
        """Of one prompt, "" for the plain one."""
        marks = VARIANTS.get(self.family, {})
        return next((name for name, place in marks.items() if place in prompt.template.names), "")

    @property
    def variants(self) -> tuple[str, ...]:
        """All there are."""
        return tuple(dict.fromkeys(self.variant(p) for p in self.prompts))

    def of(self, variant: str = "", *, seen: bool | None = None) -> tuple[Prompt, ...]:
        """The prompts of a variant; of one kind if asked."""
        return tuple(p for p in self.prompts if self.variant(p) == variant and seen in (None, p.seen))


def load_prompts(path: str | Path) -> PromptFile:
    """A prompt file, or the built-in one of a family.

    Raises: ConfigError: there is none, or it is no prompt file; one sentence that names the file and the key.
    """
    try:
        if str(path) in FAMILIES:
            return _built_in(str(path))
        return PromptFile.parse(tomllib.loads(Path(path).read_text("utf-8")), f"prompt file {path}")
    except OSError as error:
        raise ConfigError(
            f"prompt file {path}: {error.strerror}; give a TOML file, or a family ({', '.join(FAMILIES)})"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt file {path}: not TOML in UTF-8 ({error})") from error


@lru_cache
def _built_in(family: str) -> PromptFile:
    text = files("seqlore.tasks.prompts").joinpath(f"{family}.toml").read_text("utf-8")
    return PromptFile.parse(tomllib.loads(text), f"prompt file {family}")


def scrambled(prompt: Prompt, seed: int = 0) -> Prompt:
    """The control of the zero-shot rows: the same words and placeholders, the words in an order by chance.

    What is filled in stays where it was, so a model that does as well with it does not read instructions. Each place
    keeps its number of words; line breaks become blanks.
    """
    template = prompt.template
    words = [w for _, pieces in template.parts for literal, _, _ in pieces for w in literal.split()]
    order = iter(np.random.default_rng(seed).permutation(len(words)).tolist())
    text = ""
    for optional, pieces in template.parts:
        inner = ""
        for literal, name, layout in pieces:
            drawn = " ".join(words[next(order)] for _ in literal.split())
            inner += f"{' ' if inner or text else ''}{drawn.replace('{', '{{').replace('}', '}}')}"
            inner += f" {{{name}{':' * bool(layout)}{layout}}}" if name is not None else ""
        text += f"[[{inner}]]" if optional else inner
    return Prompt(name=f"{prompt.name}-scrambled", seen=False, prompt=text)
