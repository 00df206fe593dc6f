"""Memory that was freed goes back to the system, where the C library is glibc; others are left as they are."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

#: Numbers of mallopt's settings, and where glibc's own rule ends once large blocks were freed (64 bits).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 32 << 20


def trim() -> None:
    """Give back what the C library keeps of freed memory.

    Batches of ragged texts have ever other shapes, and what one leaves rarely fits the next: on titles of Amazon Beauty
    Recformer grew to 4 GB, where 0.5 are in use between two steps of its pre-training.
    """
    if (call := _of_libc("malloc_trim")) is not None:
        call(0)


@contextmanager
def given_back_at_once(size: int = 1 << 20) -> Iterator[None]:
    """Within it, blocks of ``size`` bytes and more go back as soon as they are freed, where ``trim`` waits for a turn.

    Worth it where shapes are ragged and large blocks are many: each is a page fault a page, which takes a
    net of ids some 5 to 15 % more processor time. Not to be nested.
    """
    set_ = _of_libc("mallopt") if _of_libc("malloc_trim") is not None else None
    if set_ is None:
        yield
        return
    set_(TRIM_THRESHOLD, 2 * LARGEST)
    set_(MMAP_THRESHOLD, size)
    try:
        yield
    finally:
        set_(MMAP_THRESHOLD, LARGEST)


@cache
def _of_libc(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):  # another C library; another system
        return None
