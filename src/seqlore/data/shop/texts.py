"""What is written in the simulated shop: titles, descriptions and reviews.

A text names latent values by one of several words, drawn afresh for each text, so that two items that a shopper finds
alike often share no word: "Grapefruit" and "Lemon Zest" are one scent. Reviews are put together column by column from
tables of finished sentences, which is what makes a million of them a matter of seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from seqlore.data.shop.world import AXES, DOMAINS, World, words

#: What a review can be about, in the order of the columns of ``Verdicts.fit``.
ASPECTS = (*AXES, "brand", "price")
T = TypeVar("T")
VARIANTS = 3  # sentences an aspect has for liking and for missing


def brand_names(rng: np.random.Generator, n: int) -> list[str]:
    """``n`` different invented names."""
    first, second = words().raw["names"]["brand_first"], words().raw["names"]["brand_second"]
    patterns = ("{} & {}", "{} {}", "House of {} {}")
    pairs = len(first) * len(second)
    kinds = max(2, math.ceil(n / pairs))
    out = []
    for code in rng.permutation(pairs * kinds)[:n]:
        kind, pair = divmod(int(code), pairs)
        name = patterns[min(kind, 2)].format(first[pair % len(first)], second[pair // len(first)])
        out.append(name if kind < len(patterns) else f"{name} {kind}")
    return out


def line_names(rng: np.random.Generator, n: int) -> list[str]:
    """A name for each of ``n`` lines; two brands may use the same."""
    first, second = words().raw["names"]["line_first"], words().raw["names"]["line_second"]
    codes = rng.integers(0, len(first) * len(second), n)
    return [f"{first[code % len(first)]} {second[code // len(first)]}" for code in codes]


def _lower(name: str) -> str:
    """A type's name inside a sentence; "BB Cream" becomes "BB cream"."""
    return " ".join(part if part.isupper() else part.lower() for part in name.split())


@dataclass(frozen=True)
class Labels:
    """The texts of the items, in the order of the world: [N] each, and the brand names [B]."""

    brands: list[str]
    titles: list[str]
    descriptions: list[str]
    nouns: list[str]


def describe(rng: np.random.Generator, world: World) -> Labels:
    """Titles and descriptions. Every title is different."""
    w = words()
    n = len(world)
    brands = brand_names(rng, len(world.character))
    lines = line_names(rng, int(world.line.max()) + 1)
    which = rng.integers(0, 1 << 16, (n, 12))  # of the words for a thing, by slot
    silent = rng.random((n, 2)) < (0.1, 0.2)  # titles that keep need or style to themselves
    labels = Labels(brands, [], [], [])
    taken: set[str] = set()
    for i in range(n):
        t = int(world.type[i])
        item = _Item(
            noun=w.types[t]["names"][world.form[i]],
            brand=brands[world.brand[i]],
            line=lines[world.line[i]],
            values=dict(zip(AXES, (w.values[v] for v in world.values[i]), strict=True)),
            which=which[i].tolist(),
        )
        title = _title(item, w.types[t], DOMAINS[w.domain[t]], bool(world.refill[i]), silent[i].tolist())
        if title in taken:
            title = next(new for k in range(2, n + 2) if (new := f"{title}, Edition {k}") not in taken)
        taken.add(title)
        labels.titles.append(title)
        labels.nouns.append(_lower(item.noun))
        labels.descriptions.append(_description(item, w.companions[t], float(world.tier[i])))
    return labels


@dataclass(frozen=True)
class _Item:
    noun: str
    brand: str
    line: str
    values: dict[str, dict[str, Any]]  # by axis; an empty table does not apply
    which: list[int]

    def word(self, slot: int, forms: list[T]) -> T:
        return forms[self.which[slot] % len(forms)]


def _title(item: _Item, table: dict[str, Any], domain: str, refill: bool, silent: list[bool]) -> str:
    """As shops write them: "Marrow & Fern Organic Vanilla Hand Cream for Dry Hands, 75 ml"."""
    told: dict[str, str] = dict.fromkeys(AXES, "")
    for slot, (axis, value) in enumerate(item.values.items()):
        if value:
            told[axis] = item.word(slot, value[domain if axis == "need" else "title"])
    need, style = ("" if hush else told[axis] for hush, axis in zip(silent, ("need", "style"), strict=True))
    before, after = ("", need) if need.startswith("for ") else (need, "")
    noun = f"{item.noun} Refill" if refill else item.noun
    name, tail = item.word(
        4,
        [
            ([item.brand, item.line, before, noun, after], [told["scent"], told["shade"], style]),
            ([item.brand, style, told["scent"], before, noun, after], [told["shade"]]),
            ([style, told["scent"], before, noun, after, "by", item.brand], [told["shade"]]),
        ],
    )
    parts = [" ".join(filter(None, name)), *tail, item.word(5, table["sizes"])]
    return ", ".join(filter(None, parts))


def _description(item: _Item, companions: list[str], tier: float) -> str:
    """Names the line and all values, in words drawn apart from the title's, and what goes with the item."""
    told = {a: item.word(6 + k, v["said"]) if v else "" for k, (a, v) in enumerate(item.values.items())}
    unscented = item.values["scent"].get("described")
    sentences = [
        f"{told['style'].capitalize()} {_lower(item.noun)} from the {item.line} line by {item.brand}.",
        unscented or (told["scent"] and f"The scent reminds you of {told['scent']}."),
        told["need"] and f"Developed for {told['need']}.",
        told["shade"] and f"The colour is {told['shade']}.",
        companions and f"Pairs well with our {_lower(item.word(10, companions))}.",
        _price_remark(tier),
    ]
    return " ".join(filter(None, sentences))


def _price_remark(tier: float) -> str:
    if tier > 0.35:
        return "A treat at a price to match."
    return "Easy on the purse." if tier < -0.35 else "Sensibly priced."


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What shoppers thought: item int [m]; rating int [m], 1 to 5; fit float32 [m, 6], liking by aspect."""

    item: NDArray[np.int64]
    rating: NDArray[np.int64]
    fit: NDArray[np.float32]


class ReviewWriter:
    """Writes reviews and summaries from tables of finished sentences."""

    def __init__(self, world: World, labels: Labels) -> None:
        w = words()
        self.world = world
        nouns = sorted(set(labels.nouns))
        place = {noun: i for i, noun in enumerate(nouns)}
        self._noun = np.array([place[noun] for noun in labels.nouns])  # [N]
        self._nouns = len(nouns)
        stars = [w.raw["stars"][str(s)] for s in range(1, 6)]
        self._open = pl.Series([f.format(x=x) for s in stars for f in s["open"] for x in nouns])
        self._summary = pl.Series([f.format(x=x) for s in stars for f in s["summary"] for x in nouns])
        self._close = pl.Series([" " + f for s in stars for f in s["close"]])
        # One table for the middle: nothing, plain praise or blame, then (thing, liked or missed, variant) by aspect.
        middle = ["", *(" " + f for s in stars for f in s["plain"])]
        self._plain = 1
        self._values = len(middle)
        for v, value in enumerate(w.values):
            for mood in ("liked", "missed"):
                forms = value.get(mood) or (w.raw["review"][AXES[w.axis[v]]][mood] if v else [""] * VARIANTS)
                said = value.get("said", [""])
                middle += [" " + forms[k].format(x=said[k % len(said)]) for k in range(VARIANTS)]
        self._brands = len(middle)
        for x in labels.brands:
            middle += [" " + f.format(x=x) for mood in ("liked", "missed") for f in w.raw["review"]["brand"][mood]]
        self._prices = len(middle)
        middle += [" " + f for mood in ("liked", "missed") for f in w.raw["review"]["price"][mood]]
        self._middle = pl.Series(middle)

    def _sentence(self, item: NDArray, aspect: NDArray, missed: NDArray, variant: NDArray) -> NDArray[np.int64]:
        """Rows of the middle table, int [m]."""
        value = self.world.values[item, np.minimum(aspect, len(AXES) - 1)]
        offset = missed * VARIANTS + variant
        by_value = self._values + value * 2 * VARIANTS + offset
        by_brand = self._brands + self.world.brand[item] * 2 * VARIANTS + offset
        return np.select([aspect < len(AXES), aspect == len(AXES)], [by_value, by_brand], self._prices + offset)

    def write(self, rng: np.random.Generator, v: Verdicts) -> tuple[pl.Series, pl.Series]:
        """(reviews, summaries), [m] each. What is praised was liked and what is blamed was missed.

        Four and five stars praise what fitted best (five a second thing too), four grumble about what was clearly
        missed; one and two stars blame what fitted worst; three name both. Where nothing stands out, quality is praised
        or blamed.
        """
        m = len(v.item)
        draw = rng.integers(0, 12, (m, 6))
        star = v.rating - 1
        order = np.argsort(v.fit, axis=1)
        rows = np.arange(m)
        best, second, worst = order[:, -1], order[:, -2], order[:, 0]
        liked = v.fit[rows, best] > 0.25
        also = v.fit[rows, second] > 0.25
        missed = v.fit[rows, worst] < -0.25
        plain = self._plain + star * VARIANTS + draw[:, 0] % VARIANTS
        praise = self._sentence(v.item, best, np.zeros(m, int), draw[:, 1] % VARIANTS)
        more = self._sentence(v.item, second, np.zeros(m, int), draw[:, 2] % VARIANTS)
        blame = self._sentence(v.item, worst, np.ones(m, int), draw[:, 3] % VARIANTS)
        happy = star >= 3
        one = np.where(happy, np.where(liked, praise, plain), np.where(missed, blame, plain))
        two = np.select(
            [(star == 4) & also, (star == 3) & (v.fit[rows, worst] < -0.6), (star == 2) & liked],
            [more, blame, praise],
            0,
        )
        opening = (star * 3 + draw[:, 4] % 3) * self._nouns + self._noun[v.item]
        closing = star * 3 + draw[:, 5] % 3
        parts = [self._open[opening], self._middle[one], self._middle[two], self._close[closing]]
        review = (
            pl.DataFrame({str(i): part for i, part in enumerate(parts)}).select(pl.concat_str(pl.all())).to_series()
        )
        summary = self._summary[(star * 4 + rng.integers(0, 4, m)) * self._nouns + self._noun[v.item]]
        return review.alias("review"), summary.alias("summary")
