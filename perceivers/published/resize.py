"""Pixels, and OpenCV's cubic and linear interpolation of them, to the bit: the original's pictures went through them.

Both take half-pixel centres and repeat the edges; neither antialiases. Not concerned with crops.
"""

import numpy as np
from jaxtyping import UInt8

from perceivers.errors import Unreadable

Pixels = UInt8[np.ndarray, "h w 3"]


def check_pixels(array: np.ndarray, name: str, axes: str = "h, w, 3") -> None:
    """Raises Unreadable, with the `name` of what came, unless it is uint8 RGB of these axes with something in it."""
    if array.dtype != np.uint8 or array.ndim != len(axes.split()) or array.shape[-1] != 3 or not array.size:
        raise Unreadable(f"{name}: {array.dtype} of shape {array.shape} came, expected uint8 ({axes}), RGB, not empty")


def cubic(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at `size` (h, w) by Keys' kernel with a = -0.75: in float32, rows first, last neighbour first."""
    out = picture.astype(np.float32)
    for axis, new in enumerate(size):
        first, fraction = _places(picture.shape[axis], new)
        terms = [
            out.take(np.clip(first + i - 1, 0, out.shape[axis] - 1), axis) * _beside(weight, axis)
            for i, weight in enumerate(_keys(fraction))
        ]
        out = terms[3] + terms[2] + terms[1] + terms[0]
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def linear(picture: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture at `size` (h, w) by its nearest two rows and columns: in integers, with weights in 2048ths."""
    (h, w), (rows, across) = picture.shape[:2], size
    first, fraction = _places(w, across)
    inside = (first >= 0) & (first < w - 1)  # beyond the outer columns the nearest one alone counts; rows are blended
    near, far = _in_2048ths(np.where(inside, fraction, 0))
    left, right = (picture.take(np.clip(first + i, 0, w - 1), 1).astype(np.int64) for i in (0, 1))
    wide = (left * _beside(near, 1) + right * _beside(far, 1)) >> 4
    first, fraction = _places(h, rows)
    near, far = _in_2048ths(fraction)
    upper, lower = (wide.take(np.clip(first + i, 0, h - 1), 0) for i in (0, 1))
    total = ((upper * _beside(near, 0)) >> 16) + ((lower * _beside(far, 0)) >> 16)
    return ((total + 2) >> 2).astype(np.uint8)


def _places(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new cell, the old one before its centre, and the fraction of the way to the next."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(centres).astype(np.int64)
    return first, (centres - first).astype(np.float32)


def _keys(fraction: np.ndarray) -> list[np.ndarray]:
    """The four neighbours' weights."""
    a, x, y = -0.75, fraction.astype(np.float64), 1 - fraction.astype(np.float64)
    middle = [((a + 2) * z - (a + 3)) * z * z + 1 for z in (x, y)]
    return [weight.astype(np.float32) for weight in (a * x * y * y, *middle, a * x * x * y)]


def _in_2048ths(fraction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fraction = fraction.astype(np.float32)
    near, far = (np.rint(weight * np.float32(2048)).astype(np.int64) for weight in (1 - fraction, fraction))
    return near, far


def _beside(weights: np.ndarray, axis: int) -> np.ndarray:
    """Weights of one axis, ready to be multiplied with (h w 3)."""
    return weights.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
