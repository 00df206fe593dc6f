"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
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


#: A process of its own: in this one the heap may have room for the blocks already.
ALONE = """
import ctypes, importlib.util, mmap, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("memory", sys.argv[1])
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def given_back():
    blocks = [libc.malloc(4 << 20) for _ in range(20)]
    for block in blocks:
        ctypes.memset(block, 1, 4 << 20)
    held = resident()
    for block in blocks[:-1]:
        libc.free(block)
    back = held - resident()
    libc.free(blocks[-1])
    return back

with memory.given_back_at_once():
    within = given_back()
print(within, given_back())  # in this order: what the heap has left of one run would hold the blocks of the next
"""


@glibc
def test_large_blocks_are_given_back_at_once():
    told = subprocess.run([sys.executable, "-c", ALONE, memory.__file__], capture_output=True, text=True, check=True)
    within, after = map(int, told.stdout.split())
    assert after < 20_000_000, "after it blocks are kept as in any process that has freed large ones"
    assert within > 60_000_000, "76 of 80 MB were freed"


def test_another_c_library_is_no_error(monkeypatch):
    monkeypatch.setattr(memory, "_of_libc", lambda name: None)
    memory.trim()
    with memory.given_back_at_once():
        pass
