"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pytest

from seqlore.training import memory


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


@pytest.mark.skipif(memory._malloc_trim() is None, reason="the C library has no malloc_trim")
def test_what_was_freed_is_given_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    size = 64 * 1024  # small enough for the heap, whose top stays in use
    blocks = [libc.malloc(size) for _ in range(2000)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    held = resident()
    for block in blocks[:-1]:
        libc.free(block)
    memory.trim()
    assert held - resident() > 80_000_000, "131 MB were freed"
    libc.free(blocks[-1])


def test_another_c_library_is_no_error(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.trim()
