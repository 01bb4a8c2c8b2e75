"""The errors that a user meets. Each is one line: what is wrong, where, and what would mend it.

Not concerned with how they are shown (`cli.py`).
"""

import difflib
from collections.abc import Collection

ALIKE = 0.7  # difflib's measure: `color` is like `colour`, `nope` is not like `income`


class _OneLine(ValueError):
    """A line break in the message, of a name that holds one, is written as an escape."""

    def __init__(self, message: str = ""):
        super().__init__("\\n".join(message.split("\n")))


class BadInput(_OneLine):
    """A command, option, data set, schema or model cannot be used: nothing has begun (exit code 2)."""


class Unreadable(_OneLine):
    """One row cannot be read: it is counted, named and left out."""


class Damaged(Unreadable):
    """A file that is not what its header says: the line ends with what mends it."""

    def __init__(self, message: str):
        super().__init__(f"{message}: export it anew, or take its row out")


class Failed(Exception):
    """It began, and could not be finished (exit code 1)."""


class Stopped(BaseException):
    """A signal stopped a run (exit code 128 + signal). Like KeyboardInterrupt, no `except Exception` swallows it."""

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal


def closest(name: str, known: Collection[str]) -> str | None:
    """The name that is most like `name`, if any is."""
    lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=ALIKE)
    return lower[close[0]] if close else None


def nearest(name: str, known: Collection[str]) -> str:
    """A hint to end a message with: the name that is most like `name`, if any is, else a few of them."""
    if close := closest(name, known):
        return f"; did you mean {close!r}?"
    shown = ", ".join(list(known)[:10])
    return f"; there are {shown}{' …' if len(known) > 10 else ''}"
