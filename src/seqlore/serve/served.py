"""One model as it is served: external ids and titles in and out, lists from the whole catalogue or an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from seqlore import ranking
from seqlore.client.wire import Filters, ItemRef, ScoredItem
from seqlore.client.wire import Item as ShownItem
from seqlore.data import Catalog, Sequences
from seqlore.data.titles import ENOUGH, TitleIndex
from seqlore.models.items import ItemTable
from seqlore.models.net import NetRecommender
from seqlore.ranking import Lists
from seqlore.recommender import HasItemVectors, Model, Recommender, ScoringRecommender
from seqlore.serve.arrivals import takes_new_items
from seqlore.serve.filters import allowed, attributes
from seqlore.serve.index import VectorIndex, build_index
from seqlore.serve.refused import Refused
from seqlore.serve.settings import ServeSettings
from seqlore.serve.why import cosines, item_space, occlusion

#: Histories drawn from the catalogue on which an index is measured.
QUERIES = 512
#: Items up to which titles are made searchable at once; in a larger catalogue, when somebody searches.
TITLES_AT_ONCE = 100_000


class Served:
    """A loaded model under its name. It is not changed: what changes takes its place.

    ``rank`` and what calls it belong on the model's own thread; the rest is safe anywhere.
    """

    def __init__(self, name: str, model: Model, digest: str, settings: ServeSettings, added: int = 0) -> None:
        """Args: digest: of the folder it came from. added: items at the end of the catalogue that came at run time."""
        self.name, self.model, self.digest, self.added = name, model, digest, added
        self.loaded = datetime.now(UTC).isoformat(timespec="seconds")
        self.catalog: Catalog = model.catalog
        self.lists_items = isinstance(model, Recommender)
        self.explains = callable(getattr(model, "explain", None))
        self.takes_items = takes_new_items(model)
        #: Shorter lists are the beginnings of longer ones, so requests for different k may share one.
        self.nested = isinstance(model, ScoringRecommender)
        self.space = item_space(model)  # [size, d]
        self.norms = None if self.space is None else self.space.norm(dim=1)
        # A table behind an adapter is computed once and not for every request.
        self._table: torch.Tensor | None = None  # [d, size]
        if isinstance(model, NetRecommender) and not isinstance(model.net.items, ItemTable):
            self._table = model.item_vectors().T.contiguous()
        self.index = self._build_index(settings)
        _ = self.catalog.titles
        if len(self.catalog) <= TITLES_AT_ONCE:
            _ = self.titles

    @cached_property
    def titles(self) -> TitleIndex:
        """Items by words of their title."""
        return TitleIndex(self.catalog)

    @property
    def abilities(self) -> list[str]:
        """What may be asked of it."""
        there = {
            "recommend": self.lists_items,
            "similar": self.space is not None or self.lists_items,
            "rerank": True,
            "explain": True,
            "label": self.explains,
            "add_items": self.takes_items,
        }
        return [name for name, can in there.items() if can]

    def _build_index(self, settings: ServeSettings) -> VectorIndex | None:
        model = self.model
        if len(self.catalog) < settings.index_from or not isinstance(model, ScoringRecommender):
            return None
        if not isinstance(model, HasItemVectors):
            return None
        rng = np.random.default_rng(0)
        drawn = Sequences.from_lists(
            rng.integers(1, self.catalog.size, int(rng.integers(1, 10))) for _ in range(QUERIES)
        )
        with torch.no_grad():
            return build_index(model.item_vectors(), model.encode(drawn), recall=settings.index_recall)

    def rank(
        self, histories: Sequences, k: int, exclude_seen: bool = True, candidates: NDArray[np.int32] | None = None
    ) -> Lists:
        """Lists for dense histories, through the index where there is one and nothing is filtered."""
        k = min(k, len(self.catalog))
        if candidates is not None and not len(candidates):
            return Lists(np.zeros((len(histories), k), np.int32), np.full((len(histories), k), -np.inf, np.float32))
        if self.index is not None and candidates is None:
            return self._search(self.index, histories, k, exclude_seen)
        return self._exact(histories, k, exclude_seen, candidates)

    def _exact(
        self, histories: Sequences, k: int, exclude_seen: bool, candidates: NDArray[np.int32] | None = None
    ) -> Lists:
        if self._table is not None and histories.lengths.all():
            return ranking.rank(
                self._score, histories, k, size=self.catalog.size, exclude_seen=exclude_seen, candidates=candidates
            )
        with torch.no_grad():
            return self.model.rank(histories, k, exclude_seen=exclude_seen, candidates=candidates)

    @torch.no_grad()
    def similar(
        self, item: int, k: int, candidates: NDArray[np.int32] | None
    ) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
        """(items, scores), best first: by cosine, or, in a model without vectors, its list after this item alone."""
        if self.space is None or self.norms is None:
            lists = self.rank(Sequences.from_lists([[item]]), k, True, candidates)
            return lists.items[0], lists.scores[0]
        among = np.arange(1, self.catalog.size) if candidates is None else candidates
        if candidates is None:
            scores = ((self.space @ self.space[item]) / (self.norms * self.norms[item]).clamp_min(1e-12))[1:]
        else:
            scores = cosines(self.space, self.norms, candidates, self.space[[item]])[:, 0]
        scores[torch.from_numpy(among == item)] = -torch.inf
        values, rows = scores.topk(min(k, len(scores)))
        kept = values > -torch.inf
        return among[rows[kept].numpy()], values[kept].float().numpy()

    @torch.no_grad()
    def reasons(
        self, history: NDArray[np.int32], items: NDArray[np.int32], user: int
    ) -> tuple[Literal["vectors", "occlusion", "none"], NDArray[np.int32], NDArray[np.float32]]:
        """(how, events [m] of the history that were weighed, weights [len(items), m]); see :mod:`seqlore.serve.why`."""
        if not len(history) or not len(items):
            return "none", history[:0], np.zeros((len(items), 0), np.float32)
        if self.space is not None and self.norms is not None:
            past = np.array(list(dict.fromkeys(history.tolist())), np.int32)
            weights = cosines(self.space, self.norms, items, self.space[torch.from_numpy(past).long()])
            return "vectors", past, weights.float().numpy()
        weights = occlusion(self.model, history, user, items)
        return "occlusion", history[-weights.shape[1] :], weights

    def search(self, query: str, k: int) -> list[tuple[int, float]]:
        """The k best (dense index, share of the words found) by title."""
        return self.titles.search(query, k=k)

    @property
    def attributes(self) -> list[str]:
        """What items can be filtered by."""
        return attributes(self.catalog)

    def _score(self, histories: Sequences) -> torch.Tensor:
        assert isinstance(self.model, NetRecommender)
        assert self._table is not None
        return self.model.encode(histories) @ self._table

    def _search(self, index: VectorIndex, histories: Sequences, k: int, exclude_seen: bool) -> Lists:
        assert isinstance(self.model, HasItemVectors)
        with torch.no_grad():
            queries = self.model.encode(histories).float().cpu().numpy()
        more = int(histories.lengths.max()) if exclude_seen else 0
        found, scores = index.search(queries, k + more)
        items = np.zeros((len(histories), k), np.int32)
        kept = np.full((len(histories), k), -np.inf, np.float32)
        # An empty history, or one of which the model reads nothing, says nothing: the model answers by what is popular.
        mute = np.flatnonzero((histories.lengths == 0) | ~queries.any(1))
        if len(mute):
            lists = self._exact(histories.take(mute), k, exclude_seen)
            items[mute], kept[mute] = lists.items, lists.scores
        for row in np.setdiff1d(np.arange(len(histories)), mute):
            history = histories[row]
            fits = found[row] > 0
            if exclude_seen:
                fits &= ~np.isin(found[row], history)
            place = np.flatnonzero(fits)[:k]
            items[row, : len(place)], kept[row, : len(place)] = found[row, place], scores[row, place]
        return Lists(items, kept)

    def candidates(self, filters: Filters | None) -> NDArray[np.int32] | None:
        """Dense indices that pass the filters; None = all. Raises: Refused: see :func:`allowed`."""
        return None if filters is None or filters == Filters() else allowed(self.catalog, filters)

    def dense(self, refs: Sequence[ItemRef], field: str) -> tuple[list[int], list[str]]:
        """(indices of the items that are known, ids that are not). Raises: Refused: no title is like a typed one."""
        known, unknown = [], []
        by_id = iter(self.catalog.index([ref for ref in refs if isinstance(ref, str)]).tolist())
        for i, ref in enumerate(refs):
            if isinstance(ref, str):
                if index := next(by_id):
                    known.append(index)
                else:
                    unknown.append(ref)
            else:
                known.append(self.by_title(ref.title, f"{field}.{i}.title"))
        return known, unknown

    def by_title(self, title: str, field: str) -> int:
        """The item that a typed title means. Raises: Refused: nothing resembles it enough."""
        best = self.titles.search(title, k=3)
        if not best or best[0][1] < ENOUGH:
            near = "; ".join(repr(self.catalog.titles[i - 1]) for i, _ in best)
            raise Refused(f"no title resembles {title!r}" + (f"; the nearest are {near}" if near else ""), field)
        return best[0][0]

    def shown(self, index: int) -> ShownItem:
        """An item as it goes out."""
        return ShownItem(item_id=self.catalog.ids[index - 1], title=self.catalog.titles[index - 1])

    def scored(self, items: NDArray[np.integer], scores: NDArray[np.float32]) -> list[ScoredItem]:
        """A list as it goes out; what pads is left out."""
        ids, titles = self.catalog.ids, self.catalog.titles
        pairs = zip(items.tolist(), scores.tolist(), strict=True)
        return [ScoredItem(item_id=ids[i - 1], title=titles[i - 1], score=s) for i, s in pairs if i > 0]
