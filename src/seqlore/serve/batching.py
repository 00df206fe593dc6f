"""Requests that wait together are scored together.

Nobody is kept waiting for company: a lone request is scored at once, and those that come while a batch is at work
are the next batch. All work of a model is done by one thread, so a model need not be safe for several.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqlore.data import Sequences
from seqlore.ranking import Lists


@dataclass(frozen=True, eq=False)
class Ask:
    """Lists of ``k`` items for ``histories``, made by ``rank``. Only asks with equal ``same`` are joined."""

    rank: Callable[[Sequences, int], Lists]
    same: Any
    histories: Sequences
    k: int
    done: asyncio.Future[Lists]


class Batcher:
    """The line before a model. Use it within one event loop."""

    def __init__(self, limit: int, *, seen: Callable[[int], None] = lambda size: None) -> None:
        """Args: limit: histories in a batch (a larger request is a batch of its own). seen: told each batch's size."""
        self._limit, self._seen = limit, seen
        self._waiting: deque[Ask] = deque()
        self._busy = False
        # One thread, which ends with this object: a model that was swapped out works off its line and is gone.
        self._thread = ThreadPoolExecutor(1, "seqlore-model")

    async def rank(self, rank: Callable[[Sequences, int], Lists], same: Any, histories: Sequences, k: int) -> Lists:
        """``rank(histories, k)``, perhaps together with what others ask.

        Args: same: what ``rank`` depends on; asks with equal ones may be joined, and the first one's ``rank`` is asked.
        """
        ask = Ask(rank, same, histories, k, asyncio.get_running_loop().create_future())
        self._waiting.append(ask)
        if not self._busy:
            self._busy = True
            self._worker = asyncio.create_task(self._work())  # kept, or it may be collected while it works
        return await ask.done

    async def call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """``work(*arguments)`` on the model's thread, behind what waits there."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                sizes = [len(ask.histories) for ask in batch]
                self._seen(sum(sizes))
                joined = batch[0].histories if len(batch) == 1 else Sequences.concat(a.histories for a in batch)
                k = max(ask.k for ask in batch)
                try:
                    lists = await loop.run_in_executor(self._thread, batch[0].rank, joined, k)
                except Exception as error:
                    for ask in batch:
                        if not ask.done.done():
                            ask.done.set_exception(error)
                    continue
                ends = np.cumsum(sizes)
                for ask, end, size in zip(batch, ends, sizes, strict=True):
                    if not ask.done.done():  # whoever asked may have gone
                        rows = slice(end - size, end)
                        ask.done.set_result(Lists(lists.items[rows, : ask.k], lists.scores[rows, : ask.k]))
        finally:
            self._busy = False

    def _next(self) -> list[Ask]:
        """The oldest ask, and those behind it that may be joined with it, in order; the others stay in line."""
        batch: list[Ask] = []
        others: deque[Ask] = deque()
        size = 0
        while self._waiting:
            ask = self._waiting.popleft()
            if ask.done.done():
                continue
            fits = not batch or (ask.same == batch[0].same and size + len(ask.histories) <= self._limit)
            if fits:
                batch.append(ask)
                size += len(ask.histories)
            else:
                others.append(ask)
        self._waiting = others
        return batch
