"""The shoppers of the simulated shop: what they like, when they come, what they look at and what they take.

A multinomial logit over a consideration set (see :mod:`seqlore.data.simulate`), for a block of shoppers at once.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seqlore.data.shop import texts
from seqlore.data.shop.settings import ShopConfig
from seqlore.data.shop.world import AXES, CHARACTER, World, words

Floats = NDArray[np.float32]

DAY = 86_400
OPENING = 1_609_459_200  # 2021-01-01, when the shop opens, in seconds
#: Continuity: what it is worth to share the line, the brand, and each attribute value with the item before.
LINE, BRAND, VALUE = 0.3, 0.2, 1.0
#: Routine: how much the type just bought is due again, beside 1 for each type that follows it, and what is left of
#: that after a step.
AGAIN, MEMORY = 2.0, 0.5
#: Season: what it adds to the liking of a type that sells in one season only, and of such a scent.
SEASON_TYPE, SEASON_SCENT = 0.8, 0.7
#: Share of a taste that comes from the persona (of its standard deviation).
SHARED = 0.7


def _columns() -> tuple[slice, slice, slice, slice]:
    """Where the liking of types, of attribute values, of brand character and the usual price tier stand in a taste."""
    w = words()
    edges = np.cumsum([0, len(w.types), len(w.values), CHARACTER, 1]).tolist()
    types, values, character, tier = (slice(i, j) for i, j in pairwise(edges))
    return types, values, character, tier


def draw_tastes(rng: np.random.Generator, n: int) -> Floats:
    """Tastes of ``n`` shoppers or personas, float32 [n, K]: standard normal; types of a department are liked alike."""
    w = words()
    types, *_, tier = _columns()
    tastes = rng.standard_normal((n, tier.stop), np.float32)
    departments = rng.standard_normal((n, len(w.departments)), np.float32)
    tastes[:, types] = 0.9 * departments[:, w.department] + 0.45 * tastes[:, types]
    return tastes


def _mix(one: Floats, other: Floats, share: Floats | float) -> Floats:
    """``share`` of one and the rest of the other, so that independent parts keep their variance."""
    return np.float32(share) * one + np.sqrt(1 - np.float32(share) ** 2) * other


def _timeline(rng: np.random.Generator, config: ShopConfig, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(lengths [n], times [m] in seconds): baskets of a few minutes, with weeks in between; strictly ascending."""
    shortest = min(config.shortest, int(config.interactions_per_user))
    excess = rng.poisson(rng.gamma(1.5, (config.interactions_per_user - shortest) / 1.5, n))
    lengths = np.minimum(shortest + excess, config.items // 2)
    starts = np.cumsum(lengths) - lengths
    m = int(lengths.sum())
    basket = rng.random(m) < 0.4
    basket[starts] = False
    minutes = np.where(basket, rng.uniform(20, 900, m), 0.0)
    weeks = np.where(basket, 0.0, rng.lognormal(np.log(25 * DAY), 1.0, m))
    weeks[starts] = 0.0
    arrival = rng.uniform(0, 0.85 * config.days * DAY, n)
    room = np.maximum(config.days * DAY - arrival - np.add.reduceat(minutes, starts), 0)
    squeeze = np.minimum(1.0, room / np.maximum(np.add.reduceat(weeks, starts), 1.0))  # the shop closes one day
    gaps = np.maximum((minutes + weeks * np.repeat(squeeze, lengths)).astype(np.int64), 1)
    gaps[starts] = arrival.astype(np.int64)
    total = np.cumsum(gaps)
    return lengths, total - np.repeat(total[starts] - gaps[starts], lengths)


def shop(
    rng: np.random.Generator, config: ShopConfig, world: World, personas: Floats, n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], texts.Verdicts]:
    """``n`` shoppers, all their events: (shopper [m], seconds since the opening [m], verdicts), by shopper and time.

    Args: personas: float32 [P, K]; each shopper has one.

    All shoppers take their i-th step at once. They stand in order of length, so that those who still have a step to
    take are always the first ``a`` of them.
    """
    w = words()
    types, *_ = _columns()
    lengths, times = _timeline(rng, config, n)
    order = np.argsort(-lengths, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[order]
    lengths = lengths[order]
    persona = personas[rng.integers(0, len(personas), n)]
    own = draw_tastes(rng, n)
    last = np.full(n, -1)
    routine = np.zeros((n, len(w.types)), np.float32)  # how much a type is due
    bought = np.full((n, int(lengths[0])), -1)
    item = np.full(int(lengths.sum()), -1)
    fit = np.zeros((len(item), len(texts.ASPECTS)), np.float32)
    for step in range(int(lengths[0])):
        a = int(np.searchsorted(-lengths, -step, "left"))  # lengths > step
        here = starts[:a] + step
        now = times[here]
        if step:
            keep = 0.5 ** ((now - times[here - 1]) / DAY / config.half_life)
            own = _mix(own[:a], draw_tastes(rng, a), keep.astype(np.float32)[:, None])  # Ornstein-Uhlenbeck
        taste = _mix(persona[:a], own, SHARED)
        summer = -np.cos(2 * np.pi * (now / DAY % 365.25) / 365.25).astype(np.float32)  # −1 at New Year
        seen = _consider(rng, config, world, taste[:, types], routine[:a], summer, now // DAY)  # [a, C]
        parts = _fit(world, taste, seen)  # [a, C, 6]
        utility = config.taste * parts.sum(-1) + SEASON_SCENT * w.season_value[world.values[seen, 0]] * summer[:, None]
        known = last[:a, None]
        same = world.values[seen] == world.values[known]
        alike = (
            LINE * (world.line[seen] == world.line[known])
            + BRAND * (world.brand[seen] == world.brand[known])
            + VALUE * (same & (world.values[seen] > 0)).sum(-1)
        )
        utility += config.continuity * np.where(known >= 0, alike, 0)
        for past in range(step):
            utility[seen == bought[:a, past, None]] = -np.inf
        # Adding Gumbel noise and taking the largest is drawing from the logit; −log of an exponential is Gumbel.
        utility -= np.log(np.maximum(rng.standard_exponential(utility.shape, np.float32), 1e-30))
        choice = np.argmax(utility, axis=1)
        rows = np.arange(a)
        rows = rows[np.isfinite(utility[rows, choice])]  # who owns all that was looked at leaves with nothing
        got = seen[rows, choice[rows]]
        item[here[rows]] = bought[rows, step] = last[rows] = got
        fit[here[rows]] = parts[rows, choice[rows]]
        routine[:a] *= MEMORY
        routine[rows] += w.companion[world.type[got]]
        routine[rows, world.type[got]] = AGAIN
    done = item >= 0
    item, fit = item[done], fit[done]
    shopper = np.repeat(np.arange(n), lengths[np.argsort(order)])[done]
    # Scaled so that the mean is near four stars, with some of each.
    pleasure = 0.55 * (fit.sum(1) - 1.0) + 0.4 * world.quality[item] + rng.normal(0, 0.45, len(item))
    rating = np.clip(np.rint(3.9 + pleasure), 1, 5).astype(np.int64)
    return shopper, times[done], texts.Verdicts(item, rating, fit)


def _consider(
    rng: np.random.Generator,
    config: ShopConfig,
    world: World,
    liking: Floats,
    routine: Floats,
    summer: Floats,
    day: NDArray[np.int64],
) -> NDArray[np.int64]:
    """What each shopper looks at, items [a, C]: a type by habit, season and routine, then an item by exposure.

    Args: liking, routine: [a, T]. summer: [a], −1 … 1. day: [a], of the shop's life.
    """
    w = words()
    a, c = len(liking), config.consideration
    day = np.minimum(day, config.days - 1)
    ends = world.launched[:, day].T  # [a, T]
    weight = np.exp(liking + SEASON_TYPE * w.season_type * summer[:, None]) * (1 + config.routine * routine)
    weight = np.cumsum(weight * (world.upto[ends] - world.upto[world.begin]), axis=1, dtype=np.float64)
    weight /= weight[:, -1:]
    # Stratified draws: C types of each row in ascending order, by one search over all rows laid end to end.
    strata = (np.arange(c) + rng.random((a, c))) / c
    rows = np.arange(a)[:, None]
    types = np.searchsorted((weight + rows).ravel(), strata + rows, "right") - rows * len(w.types)
    types = np.minimum(types, len(w.types) - 1)
    end = ends[rows, types]
    low, high = world.upto[world.begin[types]], world.upto[end]
    at = np.searchsorted(world.upto, low + rng.random((a, c)) * (high - low), "right") - 1
    return world.shelf[np.minimum(at, end - 1)]  # a draw that rounds up to ``high`` must not reach the next type


def _fit(world: World, taste: Floats, seen: NDArray[np.int64]) -> Floats:
    """How much shoppers [a, K] like each aspect of what they see [a, C]: [a, C, 6], 0 where it does not apply."""
    _, values, character, tier = _columns()
    rows = np.arange(len(seen))[:, None]
    parts = np.empty((*seen.shape, len(texts.ASPECTS)), np.float32)
    liking = taste[:, values].copy()
    liking[:, 0] = 0.0  # what does not apply pleases nobody
    for axis in range(len(AXES)):
        parts[..., axis] = liking[rows, world.values[seen, axis]]
    parts[..., 4] = (taste[:, character] @ world.character.T)[rows, world.brand[seen]] / CHARACTER**0.5
    parts[..., 5] = 0.5 - 2.0 * (world.tier[seen] - 0.4 * taste[:, tier]) ** 2
    return parts
