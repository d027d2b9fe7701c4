"""How the C library hands out memory to this process."""

from __future__ import annotations

import ctypes
import os
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD
LARGEST = 32 * 2**20  # bytes; glibc takes no higher threshold
KEPT = 512 * 2**20  # bytes that may stay with the process when they are freed


def reuse_memory() -> bool:
    """Keep what is freed for what is allocated next, instead of giving it back to the system each time.

    A network's layers allocate and free some megabytes each; glibc gets and returns every one of them, and
    the system has to clear all their pages anew. Whoever sets glibc's own variables has decided otherwise.
    Returns whether anything was set: only glibc has this, on Linux.
    """
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    if not sys.platform.startswith("linux") or any(name in os.environ for name in names):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none, or one that refuses
    return mallopt is not None and bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, KEPT))
