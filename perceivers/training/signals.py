"""Ctrl-C and SIGTERM: at once, or, while steps are taken, after the step and its checkpoint.

Not concerned with checkpoints (`callbacks.py`).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from perceivers.errors import Stopped


class Signals:
    """Turns the two signals into Stopped with `message`. A signal that was ignored before stays ignored."""

    def __init__(self, message: str):
        self.message = message
        self.asked: int | None = None
        self.waits = False
        self.old: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self.old[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def take_back(self) -> None:
        """Handles both signals again, after somebody else has put a handler of his own before this one."""
        for number in self.old:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        second = self.asked is not None
        self.asked = number
        if second or not self.waits:
            raise Stopped(number, self.message)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, a first signal is only noted: `check` raises it. A second one stops at once."""
        self.waits = True
        try:
            yield
        finally:
            self.waits = False

    def check(self) -> None:
        """Raises Stopped if a signal came."""
        if self.asked is not None:
            raise Stopped(self.asked, self.message)
