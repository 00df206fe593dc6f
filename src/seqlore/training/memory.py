"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def trim() -> None:
    """Give back what the C library keeps of freed memory; nothing where it has no such call (it is glibc's).

    Batches of ragged texts have ever other shapes, and what one leaves rarely fits the next: of the 4 GB that Recformer
    took for titles of Amazon Beauty 0.5 were in use between two steps.
    """
    if (call := _malloc_trim()) is not None:
        call(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; another system
        return None
