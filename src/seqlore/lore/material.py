"""What prompts are written from: facts about items and users, read from the training part of a split.

Catalogue texts (title, brand, categories, description) are known before anybody buys. Histories and reviews come from
``split.train`` alone, event by event through ``Sequences.rows``; validation and test cases are never looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from seqlore.data import Split
from seqlore.data.catalog import as_text
from seqlore.errors import DataError
from seqlore.lore.database import Subject
from seqlore.lore.prompts import FACTS, Facts, Task

#: Tasks about one item or one user.
ITEM_TASKS, USER_TASKS = ("item-knowledge", "item-attributes", "item-label"), ("user-preference", "user-label")
#: Tasks that read reviews. These and the others about users read the training part; the rest only the catalogue.
REVIEW_TASKS = ("item-label", "user-label")


@dataclass(frozen=True)
class Material:
    """What is known of one item or user.

    Attributes: facts: name → values, see :data:`seqlore.lore.prompts.FACTS`. The values of "reviews", "titles",
    "categories" and "profiles" of a user stand for events, the oldest first, and are aligned; "" = not known.
    """

    subject: Subject
    facts: Facts


def reads_training(task: str) -> bool:
    """Whether interactions are read for ``task``, and not the catalogue alone."""
    return task in (*REVIEW_TASKS, *USER_TASKS)


def gather(
    split: Split,
    task: Task,
    *,
    history: int | None = None,
    profiles: Mapping[str, str] | None = None,
    user_columns: Sequence[str] | None = None,
) -> list[Material]:
    """Facts for ``task``, items in the order of the catalogue, users in that of ``split.users``.

    Items and users of which nothing is known that the task needs are left out: it needs reviews for labels, a title or
    a category in the history for preferences, any fact for the others.

    Args:
        history: only the latest so many events of a user.
        profiles: texts about items by external id, for "user-label".
        user_columns: of the users' frame, told as individual information for "user-preference"; None = all.

    Raises: DataError: nothing is known of any of them.
    """
    if task in ("item-knowledge", "item-attributes"):
        found = _catalogue(split, FACTS[task])
    elif task == "item-label":
        found = _item_reviews(split)
    elif task == "user-preference":
        found = _histories(split, history, user_columns)
    elif task == "user-label":
        found = _user_reviews(split, history, profiles or {})
    else:
        raise DataError(f"task {task!r} is a step of others and has no facts of its own in a dataset")
    if not found:
        wants = (
            "a review or summary in the training part" if task in REVIEW_TASKS else "a title or another catalogue text"
        )
        raise DataError(f"{split.dataset.name}: {task} needs {wants}, and this dataset has none; choose another task")
    return found


def known_texts(split: Split, task: Task) -> list[str]:
    """Every different text that prompts of ``task`` are written from: what an extractive model may count words in."""
    names = ("reviews", "description", "title", "titles")
    return list(dict.fromkeys(t for m in gather(split, task) for n in names for t in m.facts.get(n, ()) if t))


def _columns(split: Split, names: Iterable[str]) -> dict[str, list[tuple[str, ...]]]:
    """Catalogue texts: name → one tuple of values an item, [len(catalog)]; () = not known."""
    items, out = split.catalog.items, {}
    for name in names:
        values = items[name].to_list() if name in items.columns else [None] * len(items)
        many = [value if isinstance(value, list) else [value] for value in values]
        out[name] = [tuple(text for each in one if (text := as_text(each))) for one in many]
    return out


def _catalogue(split: Split, names: Iterable[str]) -> list[Material]:
    columns = _columns(split, names)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return [
        _material("item", id, facts) for id, facts in zip(split.catalog.ids, rows, strict=True) if any(facts.values())
    ]


def _material(kind: str, id: str, facts: Mapping[str, tuple[str, ...]]) -> Material:
    """With the facts that say something."""
    return Material(Subject(kind, id), {name: values for name, values in facts.items() if any(values)})


def _said(split: Split) -> list[str]:
    """The review of each training event, or its summary where it has none, else "": [m], aligned to ``train.items``."""
    frame, rows = split.dataset.interactions, split.train.rows
    if rows is None:
        raise DataError("this split does not say which interactions its sequences come from, so it leads to no reviews")
    said = [""] * len(rows)
    for column in ("summary", "review"):  # a review is better than a summary
        if column in frame.columns:
            texts = frame[column].gather(pl.Series(rows)).to_list()
            said = [as_text(text) or before for text, before in zip(texts, said, strict=True)]
    return said


def _item_reviews(split: Split) -> list[Material]:
    said, train = _said(split), split.train
    times = np.zeros(len(said)) if train.timestamps is None else train.timestamps
    order = np.lexsort((np.asarray(train.rows), times, train.items))  # by item; the newest last, then as in the file
    reviews: dict[int, list[str]] = {}
    for at in order:
        if said[at]:
            reviews.setdefault(int(train.items[at]), []).append(said[at])
    columns = _columns(split, ("title", "brand", "categories"))
    return [
        _material(
            "item",
            split.catalog.external(item),
            {**{name: values[item - 1] for name, values in columns.items()}, "reviews": tuple(texts)},
        )
        for item, texts in sorted(reviews.items())
        if item
    ]


def _events(split: Split, history: int | None) -> dict[int, list[int]]:
    """Positions in ``train.items`` of each known user's events, the oldest first: user index → [n]."""
    train, events = split.train, {}
    for user, start, stop in zip(train.users, train.offsets[:-1], train.offsets[1:], strict=True):
        if user:
            events.setdefault(int(user), []).extend(range(start, stop))
    return {user: events[user][-history if history else 0 :] for user in sorted(events)}


def _histories(split: Split, history: int | None, columns: Sequence[str] | None) -> list[Material]:
    titles, categories = (
        [", ".join(values) for values in column] for column in _columns(split, ("title", "categories")).values()
    )
    individual, out = _individual(split, columns), []
    for user, events in _events(split, history).items():
        items = [int(i) - 1 for i in split.train.items[events] if i and (titles[i - 1] or categories[i - 1])]
        if items:
            id = split.users.external(user)
            facts = {"titles": tuple(titles[i] for i in items), "categories": tuple(categories[i] for i in items)}
            out.append(_material("user", id, {**facts, "user": individual.get(id, ())}))
    return out


def _individual(split: Split, columns: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """What is known of users: external id → "column: value" texts."""
    users, chosen = split.dataset.users, split.dataset.user_columns(columns)
    if users is None:
        return {}
    return {
        row["user_id"]: tuple(f"{name}: {text}" for name in chosen if (text := as_text(row[name])))
        for row in users.iter_rows(named=True)
    }


def _user_reviews(split: Split, history: int | None, profiles: Mapping[str, str]) -> list[Material]:
    said, out = _said(split), []
    titles = [", ".join(values) for values in _columns(split, ("title",))["title"]]
    about = [profiles.get(id, "") for id in split.catalog.ids]
    for user, events in _events(split, history).items():
        items = split.train.items
        known = [e for e in events if items[e] and (said[e] or titles[items[e] - 1] or about[items[e] - 1])]
        if any(said[e] for e in known):
            facts = {
                "titles": tuple(titles[items[e] - 1] for e in known),
                "reviews": tuple(said[e] for e in known),
                "profiles": tuple(about[items[e] - 1] for e in known),
            }
            out.append(_material("user", split.users.external(user), facts))
    return out
