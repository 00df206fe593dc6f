from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from seqlore.lore.parallel import as_ready


class Work:
    """Piece i takes ``seconds[i]`` and gives i * i, or fails if ``i in broken``."""

    def __init__(self, seconds: list[float], broken: frozenset[int] = frozenset()) -> None:
        self.seconds, self.broken = seconds, broken
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.now = self.most = 0

    def __call__(self, i: int, alone: bool) -> Coroutine[Any, Any, int] | None:
        self.begun.append(i)
        return self.run(i)

    async def run(self, i: int) -> int:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds[i])
        except asyncio.CancelledError:
            self.cancelled.append(i)
            raise
        finally:
            self.now -= 1
        if i in self.broken:
            raise ValueError(f"piece {i}")
        return i * i


@pytest.mark.parametrize("limit", [1, 3, 20])
def test_each_once_and_never_more_than_the_limit(limit: int) -> None:
    work = Work([0.02, 0.0, 0.01, 0.0, 0.03, 0.0, 0.0, 0.01])
    assert sorted(as_ready(work, 8, limit)) == [(i, i * i) for i in range(8)]
    assert work.begun == list(range(8))
    assert work.most <= limit


def test_as_they_come() -> None:
    assert [i for i, _ in as_ready(Work([0.3, 0.0, 0.15]), 3, 3)] == [1, 2, 0]


def test_the_first_failure_is_raised_after_what_is_in_flight() -> None:
    work, got = Work([0.2, 0.05, 0.3, 0.0, 0.0], frozenset({1, 2})), []

    def run() -> None:
        for i, _ in as_ready(work, 5, 3):
            got.append(i)

    with pytest.raises(ValueError, match="piece 1"):
        run()
    assert got == [0]
    assert work.begun == [0, 1, 2]


def test_a_start_that_fails_is_a_failure_too() -> None:
    def start(i: int, alone: bool) -> Coroutine[Any, Any, int]:
        if i == 2:
            raise ValueError("no start")
        return work.run(i)

    work, got = Work([0.05] * 4), []

    def run() -> None:
        for i, _ in as_ready(start, 4, 4):
            got.append(i)

    with pytest.raises(ValueError, match="no start"):
        run()
    assert sorted(got) == [0, 1]


def test_work_that_is_put_off_is_begun_when_something_has_ended() -> None:
    def start(i: int, alone: bool) -> Coroutine[Any, Any, int] | None:
        seen.append((i, alone))
        return work.run(i) if alone else None

    work, seen = Work([0.0] * 3), list[tuple[int, bool]]()
    assert sorted(as_ready(start, 3, 2)) == [(0, 0), (1, 1), (2, 4)]
    assert work.most == 1
    assert [i for i, alone in seen if alone] == [0, 1, 2]


def test_closing_cancels_and_awaits_and_then_closes() -> None:
    closed: list[int] = []

    async def close() -> None:
        closed.append(work.now)

    work = Work([0.0, 60.0, 60.0])
    results = as_ready(work, 3, 3, close)
    assert next(results) == (0, 0)
    results.close()  # type: ignore[attr-defined]
    assert sorted(work.cancelled) == [1, 2]
    assert closed == [0], "once, when nothing runs any more"
    assert "seqlore-requests" not in {thread.name for thread in threading.enumerate()}
