"""Array files: npy, and npz of one array or of several by name.

Nothing pickled is opened, and mere claims to be large cost no memory.

Not concerned with what the numbers mean.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from perceivers.stored import Stored, in_file

LARGEST = 2**31  # bytes of one array
ANEW = "save it anew, or take its row out"
EMPTY = f"an empty file: {ANEW}"
PICKLED = "it holds pickled objects, expected numbers: save it as an array of numbers, such as array.astype(float)"
HEADERS: Any = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def array_shape(path: Path, name: str | None = None) -> tuple[int, ...]:
    """The shape of the array in a file, from its header alone; () where it cannot be read."""
    try:
        with _opened(path, name) as (file, _):
            return _header(file)[0]
    except (OSError, ValueError):
        return ()


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an npz file. Raises OSError, and ValueError where it is none."""
    try:
        if not path.stat().st_size:
            raise ValueError(EMPTY)
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise ValueError(f"damaged, or not npz: {error}: {ANEW}") from error


def read_array(path: Path, name: str | None = None) -> np.ndarray:
    """The array of a file, or the one of that `name` in an npz file. Raises OSError, and ValueError with one line:
    damaged, pickled, or too large.
    """
    with _opened(path, name) as (file, size):
        shape, dtype, _ = _header(file)
        needed = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(PICKLED)
        if needed > min(size, LARGEST):
            limit = f"over {LARGEST / 1e9:.1f} GB: part it" if needed > LARGEST else f"it is cut short: {ANEW}"
            raise ValueError(f"its header speaks of {needed:,} bytes: {limit}")
        file.seek(0)
        return npy.read_array(file, allow_pickle=False)


def map_array(path: Path) -> Stored:
    """The array of an npy file of any size, none of it read yet. Raises OSError, and ValueError as `read_array`."""
    file = path.open("rb")
    shape, dtype, fortran = _header(file)
    needed, there = math.prod(shape) * dtype.itemsize, path.stat().st_size - file.tell()
    if dtype.hasobject:
        raise ValueError(PICKLED)
    if needed > there:
        raise ValueError(f"its header speaks of {needed:,} bytes: more than there is: it is cut short: {ANEW}")
    return in_file(file, shape, dtype, file.tell(), fortran)


@contextmanager
def _opened(path: Path, name: str | None = None) -> Iterator[tuple[Any, int]]:
    """The npy file, or the one of that name or the only one in an npz file, and how many bytes it has unpacked."""
    try:
        with path.open("rb") as file:
            if not (size := path.stat().st_size):
                raise ValueError(EMPTY)
            if not zipfile.is_zipfile(file):
                file.seek(0)
                yield file, size
                return
            with zipfile.ZipFile(file) as archive:
                members = [m for m in archive.infolist() if name is None or m.filename == f"{name}.npy"]
                if len(members) != 1:
                    raise ValueError(f"it holds {len(members)} arrays{f' {name}' if name else ''}, expected one")
                with archive.open(members[0]) as member:
                    yield member, members[0].file_size
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OverflowError) as error:
        raise ValueError(f"damaged, or not npy: {error}: {ANEW}") from error


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Shape, type, and whether the first axis is the fastest."""
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"npy of version {version[0]}.{version[1]}, expected 1.0 or 2.0: {ANEW}")
    try:
        shape, fortran, dtype = HEADERS[version](file)
    except (OSError, ValueError):
        raise
    except Exception as error:  # numpy parses the header as Python's literals: a damaged one can raise anything
        raise ValueError(f"damaged, or not npy: {' '.join(str(error).split())}: {ANEW}") from error
    return shape, dtype, fortran
