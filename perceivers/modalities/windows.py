"""Windows of what is too long for one pass: overlapping, the last one flush with the end.

Not concerned with what is in them.
"""

import numpy as np

OVERLAP = 8  # neighbouring windows share 1/8


def starts(length: int, longest: int) -> list[int]:
    """Where the windows of something so long begin."""
    if length <= longest:
        return [0]
    last = length - longest
    return [*range(0, last, longest - longest // OVERLAP), last]


def windows(example: np.ndarray | None, longest: int) -> list[np.ndarray | None]:
    """The windows of an example; one where it is missing."""
    if example is None:
        return [example]
    return [example[start : start + longest] for start in starts(len(example), longest)]


def piece(example: np.ndarray, longest: int, uniform: float) -> np.ndarray:
    """One window of an example, anywhere, chosen by a number in [0, 1)."""
    start = int(uniform * max(1, len(example) - longest + 1))
    return example[start : start + longest]
