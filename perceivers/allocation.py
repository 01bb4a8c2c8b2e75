"""How a process of ours gets memory for its arrays.

Not concerned with how much it takes.
"""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep() -> None:
    """Freed memory stays with the process: the arrays of a pass or a step are given the room of those before them.

    Else the system clears pages for each anew. It needs glibc (mallopt(3)), and holds for all arrays of the main thread
    and for those of up to 64 MB of others.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
