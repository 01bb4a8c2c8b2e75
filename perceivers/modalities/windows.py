"""Windows of what is too long for one pass: overlapping, the last one flush with the end.

Not concerned with what is in them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

OVERLAP = 8  # neighbouring windows share 1/8
MOST = 256  # windows of one example: a cell of ten megabytes must not take minutes


def starts(length: int, longest: int, most: int = MOST) -> list[int]:
    """Where the windows of something so long begin; where they would be over `most`, so many, evenly spread."""
    if length <= longest:
        return [0]
    last = length - longest
    begins = [*range(0, last, longest - longest // OVERLAP), last]
    return begins if len(begins) <= most else np.linspace(0, last, most).astype(int).tolist()


def shared(begins: Sequence[int], count: int) -> list[int]:
    """The windows' begins as `count` elements of a batch have them, where another field has so many windows."""
    return [begins[i * len(begins) // count] for i in range(count)]


def remarks(example: Any, longest: int, most: int = MOST) -> tuple[str, ...]:
    """What a person should know where not all of an example is read."""
    if example is None or len(example) <= most * longest:
        return ()
    return (f"so long that {most:,} windows of it are read, evenly spread",)


def windows(example: Any, longest: int, most: int = MOST) -> list[Any]:
    """The windows of an example that can be sliced, an array or `Stored`; one where it is missing."""
    if example is None:
        return [example]
    return [example[start : start + longest] for start in starts(len(example), longest, most)]


def piece(example: Any, longest: int, uniform: float) -> Any:
    """One window of an example, anywhere, chosen by a number in [0, 1)."""
    start = int(uniform * max(1, len(example) - longest + 1))
    return example[start : start + longest]
