"""From the facts of a prompt to statements, task by task.

Histories are weighed by recency: a choice counts half of one that came ``HALF_LIFE`` choices later.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from seqlore.lore.extractive.background import Background
from seqlore.lore.extractive.english import clean, sentences, tables, tag
from seqlore.lore.extractive.phrases import Found, named, this_one
from seqlore.lore.extractive.summary import pick, score, summarise, tally
from seqlore.lore.extractive.titles import Title, parse
from seqlore.lore.extractive.wording import VERBATIM, Statement, statement
from seqlore.lore.model import Prompt

HALF_LIFE = 20
#: Of a description: sentences that are read, phrases that are named.
READ, TERMS = 30, 8
#: Sentences that are quoted from it, and the fewest and most tokens of such a sentence.
QUOTED, SHORTEST, LONGEST = 3, 4, 40


class Place(NamedTuple):
    """leaves: the categories proper. wider: what they are part of, where categories are paths ("Makeup > Nails")."""

    leaves: list[str]
    wider: list[str]


def place(categories: Sequence[str]) -> Place:
    """Of categories such as ("Beauty > Makeup > Nails",) or ("Oral Care", "Toothbrush")."""
    leaves, wider = [], []
    for path in categories:
        steps = [step for each in path.split(" > ") if (step := clean(each))]
        leaves += steps[-1:]
        wider += steps[1 if len(steps) > 2 else 0 : -1]  # the root of a long path says what the whole shop sells
    return Place([*dict.fromkeys(leaves)], [*dict.fromkeys(wider)])


def item_knowledge(prompt: Prompt, background: Background) -> list[Statement]:
    """title, brand, categories, description → what the item is."""
    title = parse(first(prompt, "title"))
    brand = clean(first(prompt, "brand"))
    where = place(prompt.fact("categories"))
    description = described(prompt)
    return [
        statement("name_titles", [title.name]),
        statement("brand", [brand]),
        statement("listed", where.leaves),
        statement("within", where.wider),
        statement("year", [title.year]),
        statement("marks", [part for part in title.parts[1:] if part.lower() != brand.lower()][:6]),
        statement("purpose", title.purposes),
        statement("size", title.sizes),
        *(Statement(VERBATIM, (each,)) for each in _telling(description, title.name, background)),
        statement("terms", terms(description, title.name, background)),
    ]


class Description(NamedTuple):
    """One of its sentences: as written, its number of tokens, its words, and the phrases that it names."""

    sentence: str
    length: int
    words: frozenset[str]
    found: list[Found]


def described(prompt: Prompt) -> list[Description]:
    """The first ``READ`` different sentences of the fact "description"."""
    texts = dict.fromkeys(
        each for text in prompt.fact("description") for s in sentences(clean(text)) if (each := s.lstrip("*•·-–> "))
    )
    tagged = [(text, tag(text)) for text in itertools.islice(texts, READ)]
    return [Description(text, len(t.words), frozenset(t.words), [*named(t)]) for text, t in tagged]


def terms(description: Sequence[Description], title: str, background: Background) -> list[str]:
    """The phrases that mark a description; without a background, those that occur in it more than once."""
    counts = tally(each.found for each in description)
    telling = (each for each in counts.values() if each.times > 1 or background.texts)
    ranked = sorted(telling, key=lambda each: -score(each, len(description), background))
    return [each.spelling for each in pick(ranked, TERMS, [title])]


def _telling(description: Sequence[Description], title: str, background: Background) -> list[str]:
    """The sentences that say most, in their order: weight of their words by √length, the earlier the better."""
    adverts, known = tables()["advertising"], set(tag(title).words)
    scores: dict[int, float] = {}
    for i, each in enumerate(description):
        if SHORTEST <= each.length <= LONGEST and not adverts & each.words and not each.words <= known:
            weight = sum(background.weight("", key, 1, 1) for key in {f.key for f in each.found if " " not in f.key})
            scores[i] = weight / each.length**0.5 / (1 + i / 4)
    best = sorted(sorted(scores, key=lambda i: -scores[i])[:QUOTED])
    return [_whole(description[i].sentence) for i in best]


def _whole(sentence: str) -> str:
    return sentence if sentence[-1] in ".!?…。！？\"')" else sentence + "."


def user_preference(prompt: Prompt, background: Background) -> list[Statement]:
    """titles, categories (aligned, oldest first), user → what the user goes for."""
    titles = [parse(title) for title in prompt.fact("titles")]
    places = [place(_apart(each)) for each in prompt.fact("categories")]
    leaves = _recent_first([each.leaves for each in places])
    total = sum(_recency(len(places)))
    mostly = [each for each, weight in leaves if weight >= 0.12 * total][:4]
    wider = [each for each, _ in _recent_first([each.wider for each in places])][:4]
    return [
        statement("about", prompt.fact("user")),
        statement("mostly", mostly),
        statement("also", [each for each, _ in leaves if each not in mostly][:5]),
        statement("lately", [each for each in _lately([p.leaves for p in places]) if each not in mostly[:1]]),
        statement("areas", [each for each in wider if each not in mostly]),
        statement("years", _decades(titles)),
        statement("recurring", _recurring(titles, background)),
        statement("latest_titles", [title.name for title in reversed(titles) if title.name][:3]),
    ]


def _apart(categories: str) -> list[str]:
    """The categories of one item, which are joined by ", "; of paths, a part without " > " goes with the one before."""
    out: list[str] = []
    for each in categories.split(", "):
        if out and " > " in categories and " > " not in each:
            out[-1] += ", " + each  # "Makeup > Puffs, Sponges & Wedges"
        else:
            out.append(each)
    return out


def _recency(n: int) -> list[float]:
    """Of each choice, the oldest first; none is forgotten wholly, so that logarithms stay finite."""
    return [0.5 ** min(30.0, (n - 1 - i) / HALF_LIFE) for i in range(n)]


def _recent_first(named_by: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """(name, weight), heaviest first; of equals, the one met last comes first."""
    weights: dict[str, float] = {}
    last: dict[str, int] = {}
    for i, (names, weight) in enumerate(zip(named_by, _recency(len(named_by)), strict=True)):
        for name in names:
            weights[name] = weights.get(name, 0.0) + weight
            last[name] = i
    return sorted(weights.items(), key=lambda each: (-each[1], -last[each[0]]))


def _lately(named_by: Sequence[Sequence[str]]) -> list[str]:
    """What makes up twice the share among the last quarter of the history that it has in the whole."""
    recent = named_by[-max(2, len(named_by) // 4) :]
    if len(named_by) < 6:
        return []
    now = Counter(name for names in recent for name in names)
    ever = Counter(name for names in named_by for name in names)
    return [name for name, n in now.most_common() if n > 1 and n / len(recent) >= 2 * ever[name] / len(named_by)][:2]


def _decades(titles: Sequence[Title]) -> list[str]:
    decades = Counter(f"the {title.year[:3]}0s" for title in titles if title.year)
    return [decade for decade, n in decades.most_common(2) if n > 1]


def _recurring(titles: Sequence[Title], background: Background) -> list[str]:
    weights = _recency(len(titles))
    counts = tally([title.found for title in titles], weights)
    shared = (each for each in counts.values() if each.texts > 1)
    ranked = sorted(shared, key=lambda each: -score(each, sum(weights), background))
    return [each.spelling for each in pick(ranked, 8)]


def item_label(prompt: Prompt, background: Background) -> list[Statement]:
    """title, brand, categories, reviews → the item in the words of its reviewers."""
    told = summarise([tag(clean(review)) for review in prompt.fact("reviews")], background)
    return [
        statement("name_titles", [parse(first(prompt, "title")).name]),
        statement("brand", [clean(first(prompt, "brand"))]),
        statement("listed", place(prompt.fact("categories")).leaves),
        statement("subject", [told.subject]),
        statement("mentions", told.mentions),
        statement("likes", told.likes),
        statement("dislikes", told.dislikes),
    ]


def user_label(prompt: Prompt, background: Background) -> list[Statement]:
    """titles, reviews → the user in their own words."""
    titles = [parse(title) for title in prompt.fact("titles")]
    reviews = [tag(clean(review)) for review in prompt.fact("reviews")]
    told = summarise(reviews, background)
    pointed = tally([*this_one(review)] for review in reviews)
    often = tally([*named(review)] for review in reviews)
    sure = (each for key, each in pointed.items() if key in often and often[key].times > 1)
    items = pick(sorted(sure, key=lambda each: -score(each, len(reviews), background)), 8)
    return [
        statement("user_items", [each.spelling for each in items]),
        statement("user_mentions", told.mentions),
        statement("user_likes", told.likes),
        statement("user_dislikes", told.dislikes),
        statement("recurring", _recurring(titles, background)),
        statement("user_titles", [title.name for title in reversed(titles) if title.name][:3]),
    ]


def first(prompt: Prompt, name: str) -> str:
    """The first value of a fact; "" if there is none."""
    return next(iter(prompt.fact(name)), "")


#: Task → statements, for the tasks whose answer is sentences made from facts.
TASKS: dict[str, Callable[[Prompt, Background], list[Statement]]] = {
    "item-knowledge": item_knowledge,
    "user-preference": user_preference,
    "item-label": item_label,
    "user-label": user_label,
}
