"""Which rows a model has seen: a fingerprint of each row, whatever file or frame it comes in.

Not concerned with a whole data set that comes again (`training/folder.py`), nor with what a metric does about it.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import polars as pl
from jaxtyping import UInt64

from perceivers.data.randomness import chain
from perceivers.data.schema import Field
from perceivers.data.sources import Table, resolve
from perceivers.errors import Unreadable

FILE = "seen.npy"


def fingerprints(table: Table, fields: Sequence[Field]) -> UInt64[np.ndarray, " n"]:
    """A number for each row, from the cells of the fields' columns; of a file that a cell names, its name and size."""
    found = np.zeros(len(table.frame), dtype=np.uint64)
    for field in fields:
        for name in field.columns:
            found = chain(found, _of_cells(table, name, field.names_files))
    return found


def _of_cells(table: Table, name: str, files: bool) -> UInt64[np.ndarray, " n"]:
    cells = table.frame[name]
    if cells.dtype.is_numeric() or cells.dtype == pl.Boolean:
        numbers = cells.cast(pl.Float64).fill_null(np.nan).to_numpy() + 0.0  # no -0
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)
    written = [_name_and_size(table, cell) if files else _written(cell) for cell in cells.to_list()]
    digests = {one: hashlib.blake2b(one.encode(), digest_size=8).digest() for one in set(written)}
    return np.frombuffer(b"".join(digests[one] for one in written), dtype=np.uint64)


def _written(cell: object) -> str:
    return "" if cell is None else str(cell).strip()


def _name_and_size(table: Table, cell: object) -> str:
    with suppress(Unreadable, OSError):
        return f"{cell}\x1e{resolve(table.root, str(cell)).stat().st_size}"
    return str(cell)
