"""The errors that a user meets. Each is one line: what is wrong, where, and what would mend it.

Not concerned with how they are shown (`cli.py`).
"""


class _OneLine(ValueError):
    """A line break in the message, of a name that holds one, is written as an escape."""

    def __init__(self, message: str = ""):
        super().__init__("\\n".join(message.split("\n")))


class BadInput(_OneLine):
    """A command, option, data set, schema or model cannot be used: nothing has begun (exit code 2)."""


class Unreadable(_OneLine):
    """One row cannot be read: it is counted, named and left out."""


class Failed(Exception):
    """It began, and could not be finished (exit code 1)."""


class Stopped(BaseException):
    """A signal stopped a run (exit code 128 + signal). Like KeyboardInterrupt, no `except Exception` swallows it."""

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal
