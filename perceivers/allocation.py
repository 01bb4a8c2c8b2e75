"""How a process that predicts gets memory for its arrays.

Not concerned with how much it takes.
"""

import ctypes
import os

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # torch reads it before its first array
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep() -> None:
    """Freed memory stays with the process, and comes in pages of 2 MB: the arrays of a pass are given the room of those
    before them, where else the system would clear pages for each anew.

    It holds for the whole process, where its C library is glibc (mallopt(3)); others go on as they do.
    """
    os.environ.setdefault(LARGE_PAGES, "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
