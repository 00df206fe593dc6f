"""How users and items are written: as features and titles (RecSysLLM), or as ids (P5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from seqlore.data import Split
from seqlore.glm.histories import user_texts
from seqlore.glm.names import Words as Cut
from seqlore.glm.names import short_names
from seqlore.glm.texts import Entity
from seqlore.tasks.prompts import Words


class Naming(Protocol):
    """Dense indices → words."""

    def user(self, index: int, /) -> Words:
        """A sentence about a user, a blank behind it; () where there is nothing to say."""
        ...

    def item(self, index: int, /) -> Entity:
        """An item's name."""
        ...


@dataclass(frozen=True)
class Titles:
    """Items by their titles, users by their features. Attributes: items: [size], 0 pads. users: [users + 1]."""

    items: Sequence[Entity]
    users: Sequence[Words]

    @classmethod
    def of(cls, split: Split, words: Cut = 8, features: Sequence[str] | None = None) -> Titles:
        """Args: words: of a title that are kept. An item without a title is written as its id. features: columns that
        tell who a user is; None = all."""
        named = enumerate(short_names(split.catalog.titles, words), start=1)
        items = [Entity("", 0), *(Entity(title, i) for i, title in named)]
        return cls(items, user_texts(split, features))  # type: ignore[arg-type]  # texts of users have no blanks

    def user(self, index: int) -> Words:
        return self.users[index] if index < len(self.users) else ()

    def item(self, index: int) -> Entity:
        return self.items[index]


@dataclass(frozen=True)
class Ids:
    """Users and items by numbers. Attributes: items: [size]; users: [users + 1]: the number of each index."""

    items: Sequence[int]
    users: Sequence[int]

    def user(self, index: int) -> Words:
        return ("User ", Entity(f"user_{self.users[index]}"), ". ")

    def item(self, index: int) -> Entity:
        return Entity(f"item_{self.items[index]}", index)
