"""Arrays as cells: numpy arrays in data frames, and Arrow's tensors, as columns that polars knows.

Not concerned with how they are read by a model.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from perceivers.errors import BadInput


def array_columns(columns: Mapping[str, Sequence[Any]]) -> dict[str, pl.Series]:
    """Those columns whose cells are numpy arrays of rank 2 or more (None where missing), as fixed-size arrays where all
    have one shape, else as nested lists. Raises BadInput where ranks differ, a type is no number, or a size is 0.
    """
    found = {}
    for name, cells in columns.items():
        if _holds_arrays(cells):
            arrays = [None if cell is None or isinstance(cell, float) else np.asarray(cell) for cell in cells]
            _check(name, [array for array in arrays if array is not None])
            found[str(name)] = _column(str(name), arrays)
    return found


def _holds_arrays(cells: Sequence[Any]) -> bool:
    """Whether the first cell that is there is an array of rank 2 or more."""
    if isinstance(cells, np.ndarray):
        if cells.dtype != object:
            return cells.ndim > 2
    elif type(cells).__module__.split(".")[0] in ("polars", "pyarrow"):
        return False
    first = next((cell for cell in cells if cell is not None and not isinstance(cell, float)), None)
    return isinstance(first, np.ndarray) and first.ndim > 1


def _check(name: str, arrays: Sequence[np.ndarray]) -> None:
    if len(ranks := sorted({array.ndim for array in arrays})) > 1:
        raise BadInput(f"column {name!r} holds arrays of {' and '.join(map(str, ranks))} axes: give all the same axes")
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise BadInput(f"column {name!r} holds arrays of type {array.dtype}: give real numbers")
        if not array.size:
            raise BadInput(f"column {name!r} holds an array of shape {array.shape}: an axis of size 0 holds nothing")


def _column(name: str, arrays: Sequence[np.ndarray | None]) -> pl.Series:
    there = [array for array in arrays if array is not None]
    if len(there) < len(arrays) or len({array.shape for array in there}) > 1:
        return pl.Series(name, [None if array is None else array.tolist() for array in arrays])
    stacked = np.stack(there)
    if stacked.dtype.kind == "f" and stacked.dtype.itemsize not in (4, 8):
        stacked = stacked.astype(np.float32 if stacked.dtype.itemsize == 2 else np.float64)
    return pl.Series(name, stacked)


def without_tensors(table: pa.Table) -> pa.Table:
    """The table with fixed-size lists in lists in place of tensors. Raises BadInput where a size is 0."""
    for place, field in enumerate(table.schema):
        if isinstance(field.type, pa.FixedShapeTensorType):
            if not math.prod(field.type.shape):
                raise BadInput(f"column {field.name!r} holds tensors of shape {field.type.shape}: an axis has size 0")
            chunks = [_nested(chunk) for chunk in table.column(place).chunks]
            table = table.set_column(place, field.name, pa.chunked_array(chunks) if chunks else pa.nulls(0))
    return table


def _nested(tensors: pa.Array) -> pa.Array:
    """Tensors as lists in lists, in the logical order of their axes."""
    kind, storage = tensors.type, tensors.storage
    size = math.prod(kind.shape)
    values = storage.values.slice(storage.offset * size, len(storage) * size)
    array = values.to_numpy(zero_copy_only=False).reshape(len(storage), *kind.shape)
    if kind.permutation is not None:
        array = array.transpose(0, *(axis + 1 for axis in kind.permutation))
    nested = pa.array(array.ravel())
    for side in reversed(array.shape[2:]):
        nested = pa.FixedSizeListArray.from_arrays(nested, side)
    return pa.FixedSizeListArray.from_arrays(nested, array.shape[1], mask=storage.is_null())
