"""From clip files and arrays to frames (t h w c): uint8, or float32 in [0, 1] where 8 bits do not hold them.

Not concerned with how files are decoded (`perceivers/clips.py`), nor with patches, batches or models (`video.py`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perceivers import clips
from perceivers.arrays import array_shape, read_array
from perceivers.errors import Unreadable
from perceivers.modalities import pixels
from perceivers.modalities.base import is_missing

ARRAY_ENDINGS = (".npy", ".npz")


class Shape(NamedTuple):
    """What is known of a clip before it is decoded; `rate` is 0 where it is not known."""

    frames: int
    height: int
    width: int
    channels: int
    rate: float


def read(cell: Any, rate: float, limits: clips.Limits, keep: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    """A Path, an array or a nested list → its frames, each as `keep` leaves it; None where missing. The frames of a
    file are `rate` a second; those of an array are taken as they come. Raises Unreadable.
    """
    if is_file(cell):
        return np.stack(clips.frames(cell, rate, limits, keep))
    array = _from_array(cell, limits.pixels)
    return None if array is None else np.stack([keep(picture) for picture in array])


def is_file(cell: Any) -> bool:
    """Whether a cell is a file of its own rate, not an array."""
    return isinstance(cell, Path) and cell.suffix.lower() not in ARRAY_ENDINGS


def shape(cell: Any) -> Shape | None:
    """From the header alone; None where missing. Raises Unreadable."""
    if is_file(cell):
        found = clips.header(cell)
        return Shape(round(found.seconds * found.rate), found.height, found.width, found.channels, found.rate)
    if isinstance(cell, Path):
        sizes = array_shape(cell)
    elif is_missing(cell):
        return None
    else:
        sizes = np.shape(cell)
    if len(sizes) not in (3, 4):
        raise Unreadable(f"an array of shape {sizes} came, expected (t h w) or (t h w c)")
    t, h, w, c = (*sizes, 1)[:4]
    return Shape(t, h, w, c, 0.0)


def count(clip: Shape, rate: float) -> int:
    """How many frames are read."""
    return max(1, round(clip.frames / clip.rate * rate) if clip.rate else clip.frames)


def _from_array(cell: Any, max_pixels: int) -> np.ndarray | None:
    """A file of an array, or an array → (t h w c), uint8 or float32 in [0, 1]. Raises Unreadable."""
    where = f"{cell}: " if isinstance(cell, Path) else ""
    if isinstance(cell, Path):
        try:
            cell = read_array(cell)
        except (OSError, ValueError) as error:
            raise Unreadable(f"{cell}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if is_missing(cell):
        return None
    if isinstance(cell, str | bytes | int | float | dict):
        raise Unreadable(f"{str(cell)[:60]!r} came, expected the path of a clip, or an array (t h w) or (t h w c)")
    array = pixels.dense(cell, "(t h w) or (t h w c)")
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4 or not array.size:
        raise Unreadable(f"{where}an array of shape {array.shape} came, expected (t h w) or (t h w c), none of them 0")
    if (count := int(np.prod(array.shape[:3]))) > max_pixels:
        raise Unreadable(f"{where}{count:,} pixels in all frames, over max_pixels = {max_pixels}")
    try:
        return pixels.scaled(array)
    except Unreadable as error:
        raise Unreadable(f"{where}{error}") from error
