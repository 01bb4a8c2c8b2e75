"""Seconds and peak memory of a call, on a CPU and on a GPU.

Not concerned with what is called.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux's


class Clock(ABC):
    """Measures one call at a time."""

    @abstractmethod
    def measure(self, call: Callable[[], Any]) -> dict[str, float]:
        """`seconds` of a call and `peak`, the most bytes that the process held in it, weights included."""


class CPUClock(Clock):
    """Wall time; the most resident memory: of the call where the system lets it be counted anew, as Linux does, else of
    the process so far.
    """

    def measure(self, call: Callable[[], Any]) -> dict[str, float]:
        if CLEAR.exists():
            CLEAR.write_text("5")
        began = time.perf_counter()
        call()
        return {"seconds": time.perf_counter() - began, "peak": self._peak()}

    def _peak(self) -> int:
        if not CLEAR.exists():
            import resource

            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        status = STATUS.read_text(encoding="ascii", errors="replace")
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


class CUDAClock(Clock):
    """Events on the stream, and the allocator's own count. `cuda` is `torch.cuda`, or what stands in for it."""

    def __init__(self, cuda: Any):
        self.cuda = cuda

    def measure(self, call: Callable[[], Any]) -> dict[str, float]:
        self.cuda.synchronize()
        self.cuda.reset_peak_memory_stats()
        begin, end = self.cuda.Event(enable_timing=True), self.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        self.cuda.synchronize()
        return {"seconds": begin.elapsed_time(end) / 1e3, "peak": self.cuda.max_memory_allocated()}
