"""What a process holds of memory, what this one keeps when it is freed, and what it gives back (these with glibc)."""

import ctypes
import os
from pathlib import Path

from resserve.cores import usable_cores

# Bytes that a frontend may hold: over them, what is still arriving is broken off. Twice what may wait in a queue.
LIMIT = 2**30

# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_MMAP_THRESHOLD = 32 * 2**20
_TRIM_THRESHOLD = 64 * 2**20


def keep_heap() -> None:
    """Let freed memory stay in the process, so that the next image finds its pages mapped; call once, at the start.

    By default glibc unmaps freed blocks over a threshold and trims the heap's end, and every image faults its pages in
    again. Blocks up to 32 MiB (the highest that mallopt(3) takes) and a free end of 64 MiB are kept; more still goes
    back. There are as many arenas as processors instead of eight for each, as every one keeps what its threads freed.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
        libc.mallopt(_M_ARENA_MAX, usable_cores())


def give_back() -> None:
    """Return all free memory to the system once, such as what loading a model has left."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds; 0 where there is no such process, or no /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def full() -> bool:
    """Whether this process holds more than the limit."""
    return resident() > LIMIT
