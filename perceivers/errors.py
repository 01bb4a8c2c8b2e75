"""The two errors that a user meets. Each is one line: what is wrong, where, and what would mend it."""


class BadInput(ValueError):
    """A command, option, data set, schema or model cannot be used: nothing has begun (exit code 2)."""


class Unreadable(ValueError):
    """One row cannot be read: it is counted, named and left out."""


class Stopped(Exception):
    """A signal stopped a run, after a checkpoint (exit code 128 + signal)."""

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal
