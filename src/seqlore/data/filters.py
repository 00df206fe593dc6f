"""Filters: pure functions ``Dataset → Dataset``, each recorded in ``dataset.meta["filters"]``.

All keep the order of the interactions. Items and users that no longer occur are dropped as well, for every item of a
dataset is ranked, and a set filtered to its 5-core is published, counted and compared without the rest; ``keep_items``
keeps the items, as a shop wants that also recommends what nobody bought yet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from seqlore.data.dataset import Dataset
from seqlore.errors import ConfigError, DataError


def k_core(dataset: Dataset, user: int = 5, item: int = 5, *, keep_items: bool = False) -> Dataset:
    """The largest part in which every user has ``user`` interactions or more and every item ``item`` or more.

    Users and items below are removed until none is left (Seidman, Social Networks 5, 1983, of the user-item graph).
    Repeated interactions with one item count each, as in the published 5-cores.

    Raises: DataError: nothing is left. ConfigError: a limit below 1.
    """
    _at_least_one(user=user, item=item)
    events = dataset.interactions
    users, items = (events[c].rank("dense").to_numpy().astype(np.int64) for c in ("user_id", "item_id"))
    keep = np.ones(len(events), bool)
    while True:
        n_user, n_item = np.bincount(users[keep]), np.bincount(items[keep])
        enough = np.zeros(len(events), bool)
        enough[keep] = (n_user[users[keep]] >= user) & (n_item[items[keep]] >= item)
        if enough.sum() == keep.sum():
            break
        keep = enough
    return _keep(dataset, pl.Series(keep), f"k-core user={user} item={item}", keep_items)


def min_rating(dataset: Dataset, rating: float, *, keep_items: bool = False) -> Dataset:
    """Interactions rated ``rating`` or better. One without a rating is removed, for nobody knows how it was.

    Raises: DataError: there are no ratings, or none is that high.
    """
    events = dataset.interactions
    if "rating" not in events.columns or not events["rating"].count():
        raise DataError(f"{dataset.name}: there are no ratings, so min_rating={rating:g} cannot be asked for")
    return _keep(dataset, (events["rating"] >= rating).fill_null(False), f"rating >= {rating:g}", keep_items)


def min_length(dataset: Dataset, length: int, *, keep_items: bool = False) -> Dataset:
    """Users with ``length`` interactions or more.

    Raises: DataError: nobody has as many. ConfigError: a length below 1.
    """
    _at_least_one(length=length)
    enough = dataset.interactions.select(pl.len().over("user_id") >= length).to_series()
    return _keep(dataset, enough, f"user length >= {length}", keep_items)


def drop_duplicates(dataset: Dataset, keep: Literal["first", "last"] = "first") -> Dataset:
    """One interaction of each user with each item: the first or the last one in time.

    The order is the one that splits use: ``position`` where the data has it, else time, and the row of the file within
    one time or where neither is known.

    Raises: ConfigError: no such rule. DataError: some times are missing, see :attr:`Dataset.order`.
    """
    if keep not in ("first", "last"):
        raise ConfigError(f"keep={keep!r} is not a rule for duplicates: use 'first' or 'last'")
    events = dataset.interactions.with_row_index("__row")
    one = events.sort(dataset.order or "__row", "__row").unique(["user_id", "item_id"], keep=keep)["__row"]
    return _keep(dataset, events["__row"].is_in(one.implode()), f"duplicates: {keep} kept", keep_items=True)


def _at_least_one(**limits: int) -> None:
    for name, value in limits.items():
        if value < 1:
            raise ConfigError(f"{name}={value} is no limit: use 1 or more")


def _keep(dataset: Dataset, keep: pl.Series, rule: str, keep_items: bool) -> Dataset:
    events = dataset.interactions.filter(keep)
    if events.is_empty():
        raise DataError(f"{dataset.name}: no interaction is left after {rule!r}; ask for less")
    removed = len(dataset.interactions) - len(events)
    filtered = dataset.with_interactions(events, f"{rule} ({removed:,} interactions removed)")
    users, items = dataset.users, dataset.items
    if users is not None:
        users = users.join(events, on="user_id", how="semi", maintain_order="left")
    if not keep_items:
        items = items.join(events, on="item_id", how="semi", maintain_order="left")
    return replace(filtered, users=users, items=items)
