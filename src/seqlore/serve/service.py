"""What the service does, without HTTP: requests in, answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python

from seqlore.client import wire
from seqlore.data import Sequences
from seqlore.serve.knowledge import Knowledge
from seqlore.serve.refused import Refused
from seqlore.serve.registry import Registry
from seqlore.serve.served import Served
from seqlore.serve.settings import ServeSettings


class Service:
    """Answers for the models of a registry."""

    def __init__(self, registry: Registry, knowledge: Knowledge, settings: ServeSettings) -> None:
        self.registry, self.knowledge, self.settings = registry, knowledge, settings

    async def recommend(self, asked: wire.RecommendRequest) -> wire.RecommendAnswer:
        """A list for each history."""
        if (asked.history is None) == (asked.histories is None):
            raise Refused("give either history or histories", "history")
        histories, fields = (
            ([asked.history], ["history"])
            if asked.history is not None
            else (asked.histories or [], [f"histories.{i}" for i in range(len(asked.histories or []))])
        )
        self._at_most(len(histories), self.settings.max_histories, "histories", "histories")
        self._at_most(asked.k, self.settings.max_k, "k", "items in a list")
        if asked.users is not None and len(asked.users) != len(histories):
            raise Refused(f"{len(asked.users)} users for {len(histories)} histories: give one each", "users")
        lane = self.registry.get(asked.model, "recommend")
        served = lane.served
        resolved = [await self._dense(served, h, f) for h, f in zip(histories, fields, strict=True)]
        dense = self._sequences(served, [known for known, _ in resolved], asked.users)
        filters = self._filters(asked.filters)
        candidates = None if filters is None else await asyncio.to_thread(served.candidates, filters)
        k = min(asked.k, len(served.catalog))
        rank = partial(served.rank, exclude_seen=asked.exclude_seen, candidates=candidates)
        same = (asked.exclude_seen, filters, None if served.nested else k)
        lists = await lane.batcher.rank(rank, same, dense, k)
        return wire.RecommendAnswer(
            model=served.name,
            lists=[
                wire.RecommendedList(
                    history=[served.shown(i) for i in known], unknown=unknown, items=served.scored(items, scores)
                )
                for (known, unknown), items, scores in zip(resolved, lists.items, lists.scores, strict=True)
            ],
        )

    async def similar(self, asked: wire.SimilarRequest) -> wire.SimilarAnswer:
        """Items like one item."""
        self._at_most(asked.k, self.settings.max_k, "k", "items in a list")
        lane = self.registry.get(asked.model, "similar")
        served = lane.served
        item = (await self._known(served, [asked.item], "item"))[0]
        filters = self._filters(asked.filters)
        candidates = None if filters is None else await asyncio.to_thread(served.candidates, filters)
        items, scores = await lane.batcher.call(served.similar, item, asked.k, candidates)
        return wire.SimilarAnswer(
            model=served.name,
            item=served.shown(item),
            by="vectors" if served.space is not None else "list",
            items=served.scored(items, scores),
        )

    async def rerank(self, asked: wire.RerankRequest) -> wire.RerankAnswer:
        """The candidates in the model's order."""
        self._at_most(len(asked.candidates), self.settings.max_items, "candidates", "candidates")
        lane = self.registry.get(asked.model, "rerank")
        served = lane.served
        history, _ = await self._dense(served, asked.history, "history")
        known, unknown = await self._dense(served, asked.candidates, "candidates")
        chosen = np.array(list(dict.fromkeys(known)), np.int32)
        dense = self._sequences(served, [history], None if asked.user is None else [asked.user])
        items, scores = chosen, np.zeros(0, np.float32)
        if len(chosen):
            rank = partial(served.rank, exclude_seen=asked.exclude_seen, candidates=chosen)
            lists = await lane.batcher.rank(rank, (asked.exclude_seen, tuple(chosen.tolist())), dense, len(chosen))
            items, scores = lists.items[0], lists.scores[0]
        return wire.RerankAnswer(model=served.name, unknown=unknown, items=served.scored(items, scores))

    async def explain(self, asked: wire.ExplainRequest) -> wire.ExplainAnswer:
        """Why the items follow the history."""
        self._at_most(len(asked.items), self.settings.max_items, "items", "items")
        lane = self.registry.get(asked.model)
        served = lane.served
        history, _ = await self._dense(served, asked.history, "history")
        known, unknown = await self._dense(served, asked.items, "items")
        items = np.array(known, np.int32)
        user = self._sequences(served, [history], None if asked.user is None else [asked.user]).users[0]
        by, past, weights = await lane.batcher.call(served.reasons, np.array(history, np.int32), items, int(user))
        labels: list[str | None] = [None] * len(items)
        if asked.label and served.explains and len(items):
            ids = [served.catalog.ids[i - 1] for i in items]
            labels = await lane.batcher.call(served.model.explain, ids, "item")  # type: ignore[attr-defined]
        told = [
            wire.Explanation(
                **served.shown(int(item)).model_dump(),
                by=by,
                nearest=_nearest(served, past, weight, asked.nearest),
                knowledge=self.knowledge.of(served.catalog.ids[item - 1]),
                label=label,
            )
            for item, weight, label in zip(items, weights, labels, strict=True)
        ]
        return wire.ExplainAnswer(model=served.name, unknown=unknown, items=told)

    async def items(self, model: str | None, query: str, limit: int, offset: int) -> wire.ItemsAnswer:
        """Items whose title is like ``query``, best first; without one, the catalogue from ``offset`` on."""
        served = self.registry.get(model).served
        self._at_most(limit, self.settings.max_items, "limit", "items in an answer")
        if query.strip():
            found = [i for i, _ in await asyncio.to_thread(served.search, query, limit + offset)][offset:]
            total = len(found) + offset
        else:
            total = len(served.catalog)
            found = list(range(min(offset, total) + 1, min(offset + limit, total) + 1))
        return wire.ItemsAnswer(model=served.name, total=total, items=[served.shown(i) for i in found])

    def item(self, model: str | None, item_id: str) -> wire.ItemDetail:
        """All that is known of an item. Raises: Refused: 404."""
        served = self.registry.get(model).served
        index = int(served.catalog.index([item_id])[0])
        if not index:
            raise Refused(f"{served.name} knows no item {item_id!r}", "item_id", 404)
        row = served.catalog.items.row(index - 1, named=True)
        told = {k: v for k, v in row.items() if k not in ("item_id", "title") and v is not None}
        return wire.ItemDetail(
            **served.shown(index).model_dump(),
            attributes=to_jsonable_python(told, bytes_mode="base64"),
            knowledge=self.knowledge.of(item_id),
            added=index > len(served.catalog) - served.added,
        )

    async def add_items(self, asked: wire.AddItemsRequest) -> wire.AddItemsAnswer:
        """Give new items to one model, or to all that can take them. Raises: Refused: none could."""
        self._at_most(len(asked.items), self.settings.max_items, "items", "items")
        frame = self.registry.frame([item.model_dump() for item in asked.items])
        if asked.model is not None:
            names = [self.registry.get(asked.model, "add_items").served.name]
        else:
            self.registry.get(None, "add_items")
            names = [lane.served.name for lane in self.registry.lanes if lane.served.takes_items]
        took, refused = [], {}
        for name in names:
            try:
                await self.registry.add(name, frame)
                took.append(name)
            except Refused as error:
                refused[name] = error.detail
                if len(names) == 1:
                    raise
        if not took:
            raise Refused("; ".join(f"{name}: {why}" for name, why in refused.items()), "items")
        return wire.AddItemsAnswer(models=took, refused=refused)

    def models(self) -> wire.ModelsAnswer:
        """All models."""
        return wire.ModelsAnswer(models=[info(lane.served) for lane in self.registry.lanes])

    async def _dense(self, served: Served, refs: Sequence[wire.ItemRef], field: str) -> tuple[list[int], list[str]]:
        self._at_most(len(refs), max(self.settings.max_history, self.settings.max_items), field, "items")
        titles = sum(not isinstance(ref, str) for ref in refs)
        if not titles:
            return served.dense(refs, field)
        self._at_most(titles, self.settings.max_titles, field, "titles")
        return await asyncio.to_thread(served.dense, refs, field)  # a search takes its time

    async def _known(self, served: Served, refs: Sequence[wire.ItemRef], field: str) -> list[int]:
        known, unknown = await self._dense(served, refs, field)
        if unknown:
            raise Refused(f"{served.name} knows no item {unknown[0]!r}", field, 404)
        return known

    def _sequences(self, served: Served, histories: list[list[int]], users: list[str] | None) -> Sequences:
        for i, history in enumerate(histories):
            field = "history" if len(histories) == 1 else f"histories.{i}"
            self._at_most(len(history), self.settings.max_history, field, "items in a history")
        vocabulary = served.model.users
        index = None if users is None or vocabulary is None else vocabulary.index(users)
        return Sequences.from_lists(histories, index)

    def _filters(self, filters: wire.Filters | None) -> wire.Filters | None:
        if filters is None or filters == wire.Filters():
            return None
        for name in ("items", "exclude"):
            self._at_most(len(getattr(filters, name) or ()), self.settings.max_items, f"filters.{name}", "ids")
        values = sum(len(v) for v in (filters.attributes or {}).values())
        self._at_most(values, self.settings.max_items, "filters.attributes", "values")
        return filters

    def _at_most(self, number: int, most: int, field: str, what: str) -> None:
        if number > most:
            raise Refused(f"at most {most:,} {what}, not {number:,}", field)


def info(served: Served) -> wire.ModelInfo:
    """What the service tells of a model; no path is in it."""
    index, about = served.index, served.model.about
    told = ("dataset", "dataset_hash", "split", "seed", "epochs", "best_epoch", "valid", "parameters", "candidates")
    return wire.ModelInfo(
        name=served.name,
        model=served.model.name,
        paper=served.model.paper,
        items=len(served.catalog),
        abilities=served.abilities,
        attributes=served.attributes,
        digest=served.digest,
        loaded=served.loaded,
        added=served.added,
        index=None if index is None else wire.IndexInfo.model_validate(index, from_attributes=True),
        about={key: about[key] for key in told if key in about},
    )


def _nearest(served: Served, past: NDArray[np.int32], weights: NDArray[np.float32], most: int) -> list[wire.NearItem]:
    order = np.argsort(-weights, kind="stable")[:most]
    return [wire.NearItem(**served.shown(int(past[i])).model_dump(), weight=float(weights[i])) for i in order]
