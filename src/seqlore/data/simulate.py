"""A simulated shop: items with texts, shoppers with tastes, and what they bought, rated and wrote, from one seed.

The model is our own; its parts are the usual ones of choice modelling. A shopper looks at a *consideration set* (types
by habit and routine, items of a type by a Zipf law) and takes one of it by a multinomial logit (D. McFadden,
"Conditional logit analysis of qualitative choice behavior", 1974) over

* taste: a persona that many share plus a part of one's own, which drifts (Ornstein-Uhlenbeck), over scents, needs,
  shades, styles, the hidden character of brands, and price;
* continuity: the line, the brand and the attributes of the item bought before;
* routine: types that follow one another (shampoo, conditioner, hair mask), and the season.

Titles and descriptions name the latent values by one of several words, reviews those that pleased or did not. So text
tells what is alike, behaviour tells what text does not (personas, routines, brand character, popularity), and ids tell
nothing: they are random. Nobody buys an item twice, no two events of a shopper share a second.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from seqlore.data.dataset import Dataset
from seqlore.data.shop import texts
from seqlore.data.shop.settings import ShopConfig
from seqlore.data.shop.shoppers import OPENING, draw_tastes, shop
from seqlore.data.shop.world import build, words

__all__ = ["ShopConfig", "simulate"]

BLOCK = 4096  # shoppers at a time: bounds the memory, and what one step touches stays in the caches
PERSONAS = 32


def simulate(
    users: int = 2000, items: int = 800, interactions_per_user: float = 12.0, seed: int = 0, **habits: object
) -> Dataset:
    """A shop with ``users`` shoppers, ``items`` products and about ``users · interactions_per_user`` events.

    ``habits`` are the other settings of :class:`ShopConfig`. The same settings give the same ``Dataset.hash``.

    Raises: ConfigError: a setting is unknown or out of range, or shoppers would run out of products.
    """
    config = ShopConfig.parse(
        {"users": users, "items": items, "interactions_per_user": interactions_per_user, "seed": seed, **habits},
        "simulate",
    )
    world = build(_rng(config, "world"), config.items, config.days, config.zipf)
    labels = texts.describe(_rng(config, "texts"), world)
    item_ids = pl.Series("item_id", _random_ids(_rng(config, "item ids"), config.items, "P"))
    user_ids = pl.Series("user_id", _random_ids(_rng(config, "user ids"), config.users, "S"))
    writer = texts.ReviewWriter(world, labels) if config.reviews else None
    personas = draw_tastes(_rng(config, "personas"), PERSONAS)
    blocks = []
    for block, start in enumerate(range(0, config.users, BLOCK)):
        size = min(BLOCK, config.users - start)
        user, when, verdicts = shop(_rng(config, "shoppers", block), config, world, personas, size)
        columns = [
            user_ids[start + user],
            item_ids[verdicts.item],
            pl.Series("timestamp", OPENING + when),
            pl.Series("rating", verdicts.rating.astype(np.float32)),
        ]
        if writer:
            columns += writer.write(_rng(config, "reviews", block), verdicts)
        blocks.append(pl.DataFrame(columns))
    w = words()
    goods = pl.DataFrame(
        {
            "item_id": item_ids,
            "title": labels.titles,
            "brand": [labels.brands[b] for b in world.brand],
            "categories": [[w.departments[w.department[t]], w.types[t]["names"][0]] for t in world.type],
            "description": labels.descriptions,
            "price": world.price.round(2),
        }
    )
    meta = {"source": "simulated by seqlore.data.simulate", "settings": config.model_dump()}
    return Dataset.from_frames(pl.concat(blocks), goods, name="simulated-shop", meta=meta)


def _rng(config: ShopConfig, *stream: str | int) -> np.random.Generator:
    """One independent stream a purpose, so that switching reviews off, say, changes nothing else."""
    key = [int.from_bytes(str(s).encode(), "little") for s in stream]
    return np.random.default_rng([config.seed, *key])


def _random_ids(rng: np.random.Generator, n: int, prefix: str) -> list[str]:
    """``n`` different ids that tell nothing, e.g. ``P7K2M9QX4``."""
    letters = np.frombuffer(b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ", np.uint8)
    codes = rng.choice(32**8, n, replace=False)
    digits = (codes[:, None] >> (5 * np.arange(8))) & 31
    return [prefix + each.decode() for each in letters[digits].copy().view("S8").ravel()]
