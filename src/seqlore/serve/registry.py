"""The models that are served, by name, each with its line; and how one takes another's place.

A request holds the lane that it was given. When a model is swapped, new requests get the new lane, and the old one
ends with the last request that holds it: none is dropped, and none sees half of either.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from seqlore.config import nearest
from seqlore.data import Sequences
from seqlore.errors import DataError, SeqloreError
from seqlore.recommender import Model
from seqlore.serve.arrivals import with_new_items
from seqlore.serve.batching import Batcher
from seqlore.serve.folders import Source, open_model
from seqlore.serve.metrics import Metrics
from seqlore.serve.refused import Refused
from seqlore.serve.served import Served
from seqlore.serve.settings import ServeSettings


@dataclass(frozen=True, eq=False)
class Lane:
    """A served model and the line before it."""

    served: Served
    batcher: Batcher


class Registry:
    """Name → lane. ``open`` before the service starts; the rest within its event loop."""

    def __init__(self, settings: ServeSettings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self._lanes: dict[str, Lane] = {}
        self._sources: dict[str, Source] = {}
        self._added: dict[str, list[pl.DataFrame]] = defaultdict(list)
        self._changes: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def lanes(self) -> list[Lane]:
        """All, the default first."""
        return list(self._lanes.values())

    def open(self, sources: Sequence[Source]) -> None:
        """Load the models. Raises: DataError: see :func:`seqlore.serve.folders.open_model`."""
        for source in sources:
            self._sources[source.name] = source
            self._put(self._served(source.name, *open_model(source.folder)))

    def get(self, name: str | None, ability: str = "rerank") -> Lane:
        """The lane of a model, by default the first that has the ability.

        Raises: Refused: 404, there is no such model; 422, it cannot do that.
        """
        if name is None:
            for lane in self._lanes.values():
                if ability in lane.served.abilities:
                    return lane
            raise Refused(f"no served model can {ability}", "model")
        if name not in self._lanes:
            raise Refused(f"there is no model {name!r}{nearest(name, self._lanes)}", "model", 404)
        lane = self._lanes[name]
        if ability not in lane.served.abilities:
            raise Refused(f"{name} ({lane.served.model.name}) cannot {ability}", "model")
        return lane

    async def reload(self, name: str) -> Lane:
        """Read the model's folder again and put what is there in its place, with the items added meanwhile.

        Raises: Refused: 409, the folder is damaged; the old model goes on answering.
        """
        self.get(name)
        async with self._changes[name]:
            try:
                return self._put(await asyncio.to_thread(self._fresh, name), swap=True)
            except SeqloreError as error:
                told = str(error).replace(str(self._sources[name].folder), name)
                raise Refused(f"{told} — {name} goes on as it was", "model", 409) from error

    async def add(self, name: str, items: pl.DataFrame) -> Lane:
        """Put a model that knows ``items`` too in place of the named one.

        Items that it was given before, and that are the same, are passed over: who got no answer in time asks again.

        Raises: Refused: the model cannot take them, knows one already, or has been given too many.
        """
        self.get(name, "add_items")
        async with self._changes[name]:
            lane = self.get(name, "add_items")
            served, most = lane.served, self.settings.added_items
            had = {row["item_id"]: _told(row) for frame in self._added[name] for row in frame.iter_rows(named=True)}
            items = items.filter([had.get(row["item_id"]) != _told(row) for row in items.iter_rows(named=True)])
            if items.is_empty():
                return lane
            if served.added + len(items) > most:
                raise Refused(f"{name} takes {most:,} new items at run time and has {served.added:,}", "items", 409)
            try:
                lane = self._put(await asyncio.to_thread(self._extended, served, items), swap=True)
            except DataError as error:
                raise Refused(str(error), "items") from error
            self._added[name].append(items)
            return lane

    def _fresh(self, name: str) -> Served:
        model, digest = open_model(self._sources[name].folder)
        added = 0
        for items in self._added[name]:
            new = items.filter(~pl.col("item_id").is_in(model.catalog.ids))
            if len(new):
                model, added = with_new_items(model, new), added + len(new)
        return self._served(name, model, digest, added)

    def _extended(self, served: Served, items: pl.DataFrame) -> Served:
        return self._served(served.name, with_new_items(served.model, items), served.digest, served.added + len(items))

    def _served(self, name: str, model: Model, digest: str, added: int = 0) -> Served:
        served = Served(name, model, digest, self.settings, added)
        if served.lists_items:  # what is made when it is first needed is made before anybody waits for it
            served.rank(Sequences.from_lists([[1]]), 10)
            served.rank(Sequences.from_lists([[]]), 10)
        return served

    def _put(self, served: Served, *, swap: bool = False) -> Lane:
        name, metrics = served.name, self.metrics
        lane = Lane(served, Batcher(self.settings.batch, seen=metrics.batch.labels(name).observe))
        self._lanes[name] = lane
        metrics.items.labels(name).set(len(served.catalog))
        metrics.added.labels(name).set(served.added)
        if served.index is not None:
            metrics.recall.labels(name).set(served.index.recall)
        if swap:
            metrics.swaps.labels(name).inc()
        return lane

    @staticmethod
    def frame(items: Sequence[dict[str, Any]]) -> pl.DataFrame:
        """New items as rows. Raises: Refused: an id stands there twice."""
        ids = [item["item_id"] for item in items]
        if len(set(ids)) != len(ids):
            twice = next(i for i in ids if ids.count(i) > 1)
            raise Refused(f"item {twice!r} stands there twice", "items")
        columns = list(dict.fromkeys(key for item in items for key in item))
        return pl.DataFrame([_column(name, [item.get(name) for item in items]) for name in columns])


def _column(name: str, values: list[Any]) -> pl.Series:
    """A column of lists, of one type of values, or of whatever came."""
    mixed = len({isinstance(value, list) for value in values if value is not None}) > 1
    return pl.Series(name, values, dtype=pl.Object) if mixed else pl.Series(name, values, strict=False)


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """What is told of a new item; what others of its request have, and it lacks, is null in its row."""
    return {name: value for name, value in row.items() if value is not None}
