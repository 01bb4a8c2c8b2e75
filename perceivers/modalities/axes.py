"""The axes of arrays: their names, which is the channels, and how large patches along them are.

Not concerned with what stands along them (`array.py`).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from perceivers.errors import BadInput

CHANNELS = "channels"  # the name of the axis along which different things are told of one place
MOST_CHANNELS, LEAST_RATIO = 16, 4  # an axis without a name is taken for channels: so short, all others so much longer
TOKENS = 256  # the patches are the smallest that give at most so many for train's usual sizes


def places(axes: Sequence[str]) -> list[str]:
    """The names of the axes along which there are places: all but the channels."""
    return [axis for axis in axes if axis != CHANNELS]


def named(shapes: Sequence[tuple[int, ...]]) -> list[str]:
    """Names for axes that have none: the last or the first is the channels, where it is as long in all arrays, short,
    and all others are much longer; the others are numbered.
    """
    rank = len(shapes[0])
    names = [f"axis {i + 1}" for i in range(rank)]
    for place in (rank - 1, 0):
        size = shapes[0][place]
        others = [shape[i] for shape in shapes for i in range(rank) if i != place]
        same = all(shape[place] == size for shape in shapes)
        if others and same and size <= MOST_CHANNELS and LEAST_RATIO * size <= min(others):
            names[place] = CHANNELS
            break
    return names


def patches(usual: Float[np.ndarray, " d"], largest: Int[np.ndarray, " d"], most: int) -> list[int]:
    """Powers of two, as alike as can be, so that usual sizes give at most 256 tokens and the largest at most `most`."""
    patch = [1] * len(usual)
    while tokens(usual, patch) > TOKENS or tokens(largest, patch) > most:
        patch[int(np.argmax(largest / patch))] *= 2
    return patch


def tokens(sizes: Sequence[float] | np.ndarray, patch: Sequence[int]) -> int:
    """How many patches an array has."""
    return math.prod(math.ceil(size / step) for size, step in zip(sizes, patch, strict=False))


def check_axes(field: Any) -> None:
    """Raises BadInput where the axes, or what is said of them, cannot be."""
    axes, patch, extents = (field.options[option] for option in ("axes", "patch", "extents"))
    if axes is not None and (
        not isinstance(axes, list)
        or not all(isinstance(axis, str) and axis for axis in axes)
        or len(set(axes)) < len(axes)
        or not places(axes)
    ):
        raise BadInput(f"{field.name}: axes must be different names, such as [y, x, channels], got {axes!r:.60}")
    if patch is not None and not (isinstance(patch, list) and all(type(p) is int and p > 0 for p in patch)):
        raise BadInput(f"{field.name}: patch must be positive integers, one for each axis, got {patch!r:.60}")
    if axes is not None and patch is not None and len(patch) != len(places(axes)):
        raise BadInput(f"{field.name}: patch must have one number for each of {', '.join(places(axes))}, got {patch}")
    for option in ("spacing", "extents"):
        lengths = field.options[option]
        if lengths is None and option == "extents":
            continue
        if not isinstance(lengths, dict) or not all(
            type(x) in (int, float) and 0 < x < math.inf for x in lengths.values()
        ):
            raise BadInput(f"{field.name}: {option} must be lengths of axes, such as {{x: 0.5}}, got {lengths!r:.60}")
        if axes is not None and (unknown := lengths.keys() - set(places(axes))):
            raise BadInput(f"{field.name}: {option}: no axis {min(map(str, unknown))!r}: there are {', '.join(axes)}")
    if extents is not None and extents.keys() != field.options["spacing"].keys():
        raise BadInput(f"{field.name}: extents and spacing must name the same axes")
