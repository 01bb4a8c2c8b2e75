"""Cells of arrays → numbers of any rank: arrays, nested lists, JSON in strings, npy and npz files.

Not concerned with what the axes mean (`array.py`).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from perceivers.arrays import array_names, array_shape, read_array
from perceivers.errors import Unreadable
from perceivers.modalities.base import is_missing


def read(cell: Any, key: str | None) -> np.ndarray | None:
    """Integers, booleans or floats of rank 1 or more, NaN where an element is missing; None where the cell is.

    `key` is the name of the array in an npz file that has several. Raises Unreadable.
    """
    if isinstance(cell, Path):
        return _load(cell, key)
    if isinstance(cell, str):
        cell = _parsed(cell)
    if is_missing(cell):
        return None
    if not isinstance(cell, list | tuple | np.ndarray):
        raise Unreadable(f"{str(cell)[:60]} came, expected an array, or lists of lists of numbers")
    array = np.asarray(cell) if isinstance(cell, np.ndarray) and cell.dtype != object else _of_lists(cell)
    return _checked(array)


def shape(cell: Any, key: str | None) -> tuple[int, ...]:
    """The shape of a cell, found cheaply: of files from the header alone. () where it cannot be told."""
    if isinstance(cell, Path):
        return array_shape(cell, key)
    if isinstance(cell, np.ndarray):
        return cell.shape
    sizes = []
    while isinstance(cell, list | tuple):
        sizes.append(len(cell))
        cell = cell[0] if cell else None
    return tuple(sizes)


def _checked(array: np.ndarray) -> np.ndarray:
    """Raises Unreadable where an array is not of numbers, has no elements, or infinity."""
    if array.dtype.kind == "c":
        raise Unreadable(f"{array.dtype} came, expected real numbers: give the parts as two channels")
    if array.dtype.kind not in "biuf":
        raise Unreadable(f"an array of type {str(array.dtype)[:40]} came, expected numbers")
    if not array.ndim:
        raise Unreadable("a single number came, expected an array of one axis or more")
    if not array.size:
        raise Unreadable(f"an array of shape {array.shape} came: an axis of size 0 holds nothing")
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise Unreadable("infinity came, expected finite numbers, and NaN where one is missing")
    return array


def _of_lists(cell: Any) -> np.ndarray:
    """Nested lists, in which None is a missing number."""
    try:
        array = np.asarray(cell)
        return array.astype(np.float64) if array.dtype == object else array
    except (ValueError, TypeError, OverflowError) as error:
        unlike = "lists of different lengths came, or what is no number: expected lists of lists of numbers, those of"
        raise Unreadable(f"{unlike} one axis equally long: {str(cell)[:40]}") from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError) as error:
        mend = "`files: true` in the schema reads names of files"
        raise Unreadable(f"{text[:60]!r} came, expected lists such as [[1, 2], [3, null]]; {mend}") from error


def _load(path: Path, key: str | None) -> np.ndarray:
    """The array of an npy file, or one of an npz file; nothing that is pickled."""
    try:
        if path.suffix.lower() == ".npz" and len(names := array_names(path)) != 1 and key not in names:
            if not names:
                raise ValueError("no arrays in it: save it anew, or take its row out")
            which = f"no array {key!r}" if key is not None else f"{len(names)} arrays"
            raise ValueError(f"{which} in it: name one as `key` in the schema: {', '.join(names[:10])}")
        return _checked(read_array(path, key if path.suffix.lower() == ".npz" else None))
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: cannot be read as an array of numbers: {error}") from error
