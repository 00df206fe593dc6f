"""The shelves of the simulated shop: brands, product lines and items with the latent attributes that shoppers care for.

An item has a type, a line, a brand, up to four attribute values (scent, need, shade, style), a price and a launch day.
Index 0 of the values means "does not apply". Nothing here depends on an item's id, and its number in these arrays is
arbitrary.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

AXES = ("scent", "need", "shade", "style")
DOMAINS = ("skin", "body", "hair", "oral", "home")  # where a need is felt; they share values such as "sensitive"
CHARACTER = 4  # dimensions of what makes brands alike and no text tells


@dataclass(frozen=True, eq=False)
class Words:
    """``vocabulary.toml`` with numbers: T types in D departments, V attribute values (0 = does not apply).

    Attributes:
        raw: the file, for sentences and names.
        types: one table a type. department: int [T]. departments: their names.
        applies: bool [T, 4], which axes a type has. domain: int [T], index into DOMAINS or −1.
        companion: bool [T, T], the column's type follows the row's in a routine. companions: for each type, the names
            of those that follow.
        season_type [T], season_value [V]: +1 sells in summer, −1 in winter.
        values: one table a value, ``values[0]`` empty. axis: int [V], −1 for value 0.
        on_axis: for each axis, the indices of its values. needs: for each domain, those of the needs felt there.
    """

    raw: dict[str, Any]
    types: list[dict[str, Any]]
    department: NDArray[np.int64]
    departments: list[str]
    applies: NDArray[np.bool_]
    domain: NDArray[np.int64]
    companion: NDArray[np.bool_]
    companions: list[list[str]]
    season_type: NDArray[np.float32]
    season_value: NDArray[np.float32]
    values: list[dict[str, Any]]
    axis: NDArray[np.int64]
    on_axis: list[NDArray[np.int64]]
    needs: list[NDArray[np.int64]]


@cache
def words() -> Words:
    """The vocabulary, read once."""
    raw = tomllib.loads(files("seqlore.data").joinpath("shop/vocabulary.toml").read_text(encoding="utf-8"))
    keyed = {key: (d, table) for d, types in enumerate(raw["types"].values()) for key, table in types.items()}
    number = {key: t for t, key in enumerate(keyed)}
    types = [table for _, table in keyed.values()]
    companion = np.zeros((len(types), len(types)), bool)
    for t, table in enumerate(types):
        companion[t, [number[key] for key in table["next"]]] = True
    values = [{}, *(raw[axis][name] for axis in AXES for name in raw[axis])]
    axis = np.array([-1, *(a for a, name in enumerate(AXES) for _ in raw[name])])
    return Words(
        raw=raw,
        types=types,
        department=np.array([d for d, _ in keyed.values()]),
        departments=list(raw["types"]),
        applies=np.array([[bool(table.get(a)) or a == "style" for a in AXES] for table in types]),
        domain=np.array([DOMAINS.index(table["need"]) if "need" in table else -1 for table in types]),
        companion=companion,
        companions=[[keyed[key][1]["names"][0] for key in table["next"]] for table in types],
        season_type=np.array([table.get("season", 0.0) for table in types], np.float32),
        season_value=np.array([value.get("season", 0.0) for value in values], np.float32),
        values=values,
        axis=axis,
        on_axis=[np.flatnonzero(axis == a) for a in range(len(AXES))],
        needs=[np.array([v for v, value in enumerate(values) if domain in value]) for domain in DOMAINS],
    )


@dataclass(frozen=True, eq=False)
class World:
    """N items on L lines of B brands.

    Attributes:
        type, line, brand: int [N]. values: int [N, 4], one column an axis, 0 = does not apply.
        form: int [N], which of its type's three names an item bears. refill: bool [N].
        tier: float32 [N], log of price over the usual price of the type. price: float [N].
        launch: int [N], day. exposure: float [N], how often an item is looked at (Zipf). quality: float32 [N].
        character: float32 [B, 4], what makes brands alike; no text tells it.
        shelf: int [N], items by type and then launch. upto: float [N + 1], exposure summed along the shelf.
        begin: int [T], where a type starts on the shelf. launched: int [T, days], where it ends on a day.
    """

    type: NDArray[np.int64]
    line: NDArray[np.int64]
    brand: NDArray[np.int64]
    values: NDArray[np.int64]
    form: NDArray[np.int64]
    refill: NDArray[np.bool_]
    tier: NDArray[np.float32]
    price: NDArray[np.float64]
    launch: NDArray[np.int64]
    exposure: NDArray[np.float64]
    quality: NDArray[np.float32]
    character: NDArray[np.float32]
    shelf: NDArray[np.int64]
    upto: NDArray[np.float64]
    begin: NDArray[np.int64]
    launched: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.type)


def zipf(rng: np.random.Generator, n: int, exponent: float) -> NDArray[np.float64]:
    """Weights rank^−exponent in random order, summing to one."""
    weights = (1.0 + rng.permutation(n)) ** -exponent
    return weights / weights.sum()


def _vary(rng: np.random.Generator, usual: NDArray[np.int64], choices: NDArray[np.int64], keep: float) -> NDArray:
    """``usual`` with probability ``keep``, else any of ``choices``."""
    return np.where(rng.random(len(usual)) < keep, usual, rng.choice(choices, len(usual)))


def build(rng: np.random.Generator, n: int, days: int, exponent: float) -> World:
    """A shop of ``n`` items over ``days`` days whose exposure falls as rank^−``exponent``."""
    w = words()
    n_brands = max(6, round(1.5 * n**0.5))
    department_weight = zipf(rng, len(w.departments), 0.3)
    brand_style = rng.choice(w.on_axis[3], n_brands)
    brand_tier = rng.normal(0, 0.35, n_brands)
    brand_at = rng.choice(len(w.departments), (n_brands, 2), p=department_weight)  # a brand works in one or two

    # Lines: products launched together that share brand, scent, style, needs and palette, and name them in their texts.
    sizes = 1 + rng.poisson(2.2, n)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), n) + 1]
    n_lines = len(sizes)
    line = np.repeat(np.arange(n_lines), sizes)[:n]
    line_brand = rng.choice(n_brands, n_lines, p=zipf(rng, n_brands, 0.7))
    line_department = brand_at[line_brand, rng.integers(0, 2, n_lines)]
    line_scent, line_shade = rng.choice(w.on_axis[0], n_lines), rng.choice(w.on_axis[2], n_lines)
    line_style = _vary(rng, brand_style[line_brand], w.on_axis[3], 0.7)
    line_need = np.stack([rng.choice(needs, n_lines) for needs in w.needs], axis=1)  # [L, 5]
    line_launch = np.where(rng.random(n_lines) < 0.5, 0, rng.integers(0, days, n_lines))

    type_weight = rng.gamma(4.0, 1.0, len(w.types))
    of_department = type_weight * (w.department == np.arange(len(w.departments))[:, None])
    cumulative = np.cumsum(of_department / of_department.sum(1, keepdims=True), axis=1)  # [D, T]
    draw = rng.random(n)
    type_ = np.empty(n, np.int64)
    for d in range(len(w.departments)):
        here = line_department[line] == d
        type_[here] = np.searchsorted(cumulative[d], draw[here] * cumulative[d, -1], "right")

    brand = line_brand[line]
    need = np.zeros(n, np.int64)
    for k, needs in enumerate(w.needs):
        here = w.domain[type_] == k
        need[here] = _vary(rng, line_need[line[here], k], needs, 0.85)
    scent = _vary(rng, line_scent[line], w.on_axis[0], 0.85)
    shade = _vary(rng, line_shade[line], w.on_axis[2], 0.6)
    # Nobody wears a green foundation.
    skin_tones = np.array([v for v, value in enumerate(w.values) if value.get("complexion")])
    complexion = np.array([table.get("shade") == "complexion" for table in w.types])[type_]
    shade = np.where(complexion & ~np.isin(shade, skin_tones), rng.choice(skin_tones, n), shade)
    values = np.where(w.applies[type_], np.stack([scent, need, shade, line_style[line]], axis=1), 0)

    # The second of a type on its line is the refill of the first, where the type knows refills.
    _, first = np.unique(line * len(w.types) + type_, return_index=True)
    again = np.ones(n, bool)
    again[first] = False
    refill = again & np.array([table.get("refill", False) for table in w.types])[type_]
    style_tier = np.array([value.get("tier", 0.0) for value in w.values])
    tier = brand_tier[brand] + style_tier[values[:, 3]] + rng.normal(0, 0.15, n) - 0.3 * refill
    usual = np.array([table["price"] for table in w.types], float)
    price = np.maximum(np.round(usual[type_] * np.exp(tier)), 1) + rng.choice([-0.01, -0.05, -0.5], n)

    # A third of a line's products come later than the line itself; each type has one product from the first day.
    later = np.where(rng.random(n) < 0.33, rng.integers(0, days // 2, n), 0)
    launch = np.minimum(line_launch[line] + later, days - 1)
    order = np.lexsort((launch, type_))
    launch[order[np.r_[True, np.diff(type_[order]) > 0]]] = 0
    exposure = zipf(rng, n, exponent)
    shelf = np.lexsort((launch, type_))
    counts = np.zeros((len(w.types), days), np.int64)
    np.add.at(counts, (type_, launch), 1)
    begin = np.searchsorted(type_[shelf], np.arange(len(w.types)))
    return World(
        type=type_,
        line=line,
        brand=brand,
        values=values,
        form=rng.integers(0, 3, n),
        refill=refill,
        tier=tier.astype(np.float32),
        price=price,
        launch=launch,
        exposure=exposure,
        quality=rng.normal(0, 1, n).astype(np.float32),
        character=rng.normal(0, 1, (n_brands, CHARACTER)).astype(np.float32),
        shelf=shelf,
        upto=np.concatenate([[0.0], np.cumsum(exposure[shelf])]),
        begin=begin,
        launched=begin[:, None] + np.cumsum(counts, axis=1),
    )
