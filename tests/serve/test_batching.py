"""Requests joined into batches: who gets what, who is joined with whom, and what a failure takes with it."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import numpy as np
import pytest

from seqlore.data import Sequences
from seqlore.ranking import Lists
from seqlore.serve.batching import Batcher


def echo(histories: Sequences, k: int) -> Lists:
    """A history's last item, plus 0, 1, 2, …; so each knows whose list it got."""
    last = np.array([h[-1] for h in histories], np.int32)
    items = last[:, None] + np.arange(k, dtype=np.int32)
    return Lists(items, -np.ones(items.shape, np.float32))


def one(item: int) -> Sequences:
    return Sequences.from_lists([[1, item]])


async def held(batcher: Batcher) -> tuple[threading.Event, asyncio.Task[Any]]:
    """Keep the model's thread busy until the event is set, so that what is asked now waits together."""
    gate = threading.Event()

    def wait(histories: Sequences, k: int) -> Lists:
        gate.wait(10)
        return echo(histories, k)

    task = asyncio.create_task(batcher.rank(wait, "held", one(1), 1))
    await asyncio.sleep(0.02)
    return gate, task


def test_everybody_gets_the_list_that_was_asked_for() -> None:
    async def main() -> None:
        sizes: list[int] = []
        batcher = Batcher(8, seen=sizes.append)
        gate, first = await held(batcher)
        asks = [asyncio.create_task(batcher.rank(echo, "same", one(100 * i), 1 + i % 3)) for i in range(20)]
        await asyncio.sleep(0)
        gate.set()
        lists = await asyncio.gather(*asks)
        for i, each in enumerate(lists):
            assert each.items.tolist() == [[100 * i + j for j in range(1 + i % 3)]]
            assert each.scores.shape == (1, 1 + i % 3)
        await first
        assert sizes == [1, 8, 8, 4], "joined while the first was at work, and never more than the limit"

    asyncio.run(main())


def test_only_like_asks_are_joined_and_order_is_kept_among_them() -> None:
    async def main() -> None:
        sizes: list[int] = []
        batcher = Batcher(8, seen=sizes.append)
        gate, first = await held(batcher)
        asks = [asyncio.create_task(batcher.rank(echo, "ab"[i % 2], one(10 * i), 1)) for i in range(4)]
        await asyncio.sleep(0)
        gate.set()
        lists = await asyncio.gather(*asks, first)
        assert [int(each.items[0, 0]) for each in lists[:4]] == [0, 10, 20, 30]
        assert sizes == [1, 2, 2]

    asyncio.run(main())


def test_a_large_request_is_a_batch_of_its_own() -> None:
    async def main() -> None:
        batcher = Batcher(2)
        many = Sequences.from_lists([[i] for i in range(5)])
        assert (await batcher.rank(echo, None, many, 1)).items[:, 0].tolist() == [0, 1, 2, 3, 4]

    asyncio.run(main())


def test_who_has_gone_is_not_asked_for_and_disturbs_nobody() -> None:
    async def main() -> None:
        sizes: list[int] = []
        batcher = Batcher(8, seen=sizes.append)
        gate, first = await held(batcher)
        gone, stays = (asyncio.create_task(batcher.rank(echo, "same", one(i), 1)) for i in (10, 20))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        gate.set()
        assert (await stays).items.tolist() == [[20]]
        await first
        assert sizes == [1, 1]

    asyncio.run(main())


def test_a_failure_is_told_to_its_batch_and_the_next_is_answered() -> None:
    def fails(histories: Sequences, k: int) -> Lists:
        raise RuntimeError("no")

    async def main() -> None:
        batcher = Batcher(8)
        with pytest.raises(RuntimeError, match="no"):
            await batcher.rank(fails, None, one(1), 1)
        assert (await batcher.rank(echo, None, one(3), 1)).items.tolist() == [[3]]

    asyncio.run(main())


def test_the_thread_ends_with_the_line() -> None:
    threads: list[threading.Thread] = []

    def noted(histories: Sequences, k: int) -> Lists:
        threads.append(threading.current_thread())
        return echo(histories, k)

    async def main() -> None:
        await Batcher(8).rank(noted, None, one(1), 1)

    asyncio.run(main())
    gc.collect()
    threads[0].join(5)
    assert not threads[0].is_alive(), "a model that was swapped out leaves no thread behind"
