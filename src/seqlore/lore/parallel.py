"""Many requests at a time, each result handed over as it comes.

A thread runs the event loop, so that this works inside a notebook (which has a loop of its own), and so that what is
in flight goes on while the caller writes a result down. A place is free again only when the caller has come back for
the next result: what is on the way or not yet written down is never more than ``limit``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

#: ``start(i, alone)`` → the work on ``i``; None = not before something else has ended (``alone``: there is nothing).
Start = Callable[[int, bool], Coroutine[Any, Any, T] | None]


def as_ready(
    start: Start[T], count: int, limit: int, close: Callable[[], Coroutine[Any, Any, None]] | None = None
) -> Iterator[tuple[int, T]]:
    """(i, result of the work on i) for i in 0 … count - 1, each as soon as it is there, at most ``limit`` at a time.

    Work is begun in order. Closing the iterator cancels what is in flight and waits until it has ended; ``close``
    runs last of all, in the same loop.

    Raises: what ``start`` or a piece of work fails with first; no more is begun then, and what is in flight is
        yielded before.
    """
    begun, failure = 0, None
    with _loop_in_thread(close) as loop:
        running: dict[Future[T], int] = {}
        try:
            while True:
                while failure is None and begun < count and len(running) < limit:
                    try:
                        work = start(begun, not running)
                    except Exception as error:
                        failure = error
                        break
                    if work is None:
                        assert running, "work was put off although nothing was left to wait for"
                        break
                    running[asyncio.run_coroutine_threadsafe(work, loop)] = begun
                    begun += 1
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                ready = min(done, key=running.__getitem__)
                if (error := ready.exception()) is None:
                    yield running[ready], ready.result()
                failure = failure or error
                del running[ready]
        finally:
            for future in running:
                future.cancel()
    if failure is not None:
        raise failure


@contextmanager
def _loop_in_thread(close: Callable[[], Coroutine[Any, Any, None]] | None) -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread; at the end what is left in it is cancelled and awaited."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="seqlore-requests", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        try:
            asyncio.run_coroutine_threadsafe(_finish(close), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _finish(close: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if close is not None:
        await close()
