"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import nullcontext
from pathlib import Path

import pytest

from seqlore.training import memory

glibc = pytest.mark.skipif(memory._of_libc("malloc_trim") is None, reason="the C library is not glibc")


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def taken(libc: ctypes.CDLL, size: int, count: int) -> list[int]:
    """Blocks that are in use."""
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    blocks = [libc.malloc(size) for _ in range(count)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    return blocks


@glibc
def test_what_was_freed_is_given_back():
    libc = ctypes.CDLL(None)
    blocks = taken(libc, 64 * 1024, 2000)  # small enough for the heap, whose top stays in use
    held = resident()
    for block in blocks[:-1]:
        libc.free(block)
    memory.trim()
    assert held - resident() > 80_000_000, "131 MB were freed"
    libc.free(blocks[-1])


@glibc
@pytest.mark.parametrize(("context", "at_once"), [(nullcontext, False), (memory.given_back_at_once, True)])
def test_large_blocks_are_given_back_at_once(context, at_once):
    with memory.given_back_at_once():
        pass  # what holds after it
    libc = ctypes.CDLL(None)
    with context():
        blocks = taken(libc, 4 << 20, 20)
        held = resident()
        for block in blocks[:-1]:
            libc.free(block)
        assert (held - resident() > 60_000_000) == at_once, "80 MB were freed"
    libc.free(blocks[-1])
    memory.trim()


def test_another_c_library_is_no_error(monkeypatch):
    monkeypatch.setattr(memory, "_of_libc", lambda name: None)
    memory.trim()
    with memory.given_back_at_once():
        pass
