"""Arrays too large for memory: they stay in a file, and what is asked for is read.

Not concerned with what the numbers mean, nor with how they came into the file.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

LARGE = 2**26  # numbers: what has more of them stays in a file
BLOCK = 2**22  # numbers that are read at once: larger ones, memory is asked of the system for anew each time


class Stored:
    """An array that stays in a file. `len`, `shape` and `dtype` are those of an array; a slice of rows is again a
    `Stored`, and reads nothing; `numpy.asarray` reads all of it.

    read: the rows from one to before another, read anew each time, so that what was read is let go of.
    """

    def __init__(
        self, read: Callable[[int, int], np.ndarray], shape: Sequence[int], dtype: np.typing.DTypeLike, start: int = 0
    ):
        self.read, self.shape, self.dtype, self.start = read, tuple(shape), np.dtype(dtype), start

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return count(self.shape)

    @property
    def nbytes(self) -> int:
        """As an array."""
        return self.size * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> "Stored":
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"rows in steps of {step}: what is stored is read row by row")
        return Stored(self.read, (max(0, stop - start), *self.shape[1:]), self.dtype, self.start + start)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.read(self.start, self.start + len(self)), dtype=dtype)


Rows = np.ndarray | Stored


def is_large(shape: Sequence[int]) -> bool:
    """Whether an array of that shape stays in a file."""
    return count(shape) > LARGE


def count(shape: Sequence[int]) -> int:
    """How many numbers an array of that shape has, of any size."""
    return int(np.prod([int(size) for size in shape], dtype=object)) if len(shape) else 1


def in_file(
    file: BinaryIO,
    shape: Sequence[int],
    dtype: Any,
    offset: int = 0,
    fortran: bool = False,
    view: Callable[[np.ndarray], np.ndarray] = lambda array: array,
) -> Stored:
    """The array whose numbers stand in `file` from the byte `offset` on, in `fortran` order the first axis fastest,
    through a `view`, such as one that moves axes. Each reading maps the file anew, so that no page stays.
    """
    order = "F" if fortran else "C"

    def read(start: int, stop: int) -> np.ndarray:
        return view(np.memmap(file, dtype, "r", offset, tuple(shape), order))[start:stop]

    return Stored(read, view(np.broadcast_to(np.zeros((), dtype), tuple(shape))).shape, dtype)


def store(blocks: Iterable[np.ndarray], view: Callable[[np.ndarray], np.ndarray] = lambda array: array) -> Stored:
    """Blocks of rows, at least one of them, one below the other in a temporary file, which goes when nothing uses it;
    seen through a `view`.

    Raises OSError where there is no room for it.
    """
    file = tempfile.TemporaryFile(prefix="perceivers-")  # noqa: SIM115  what is stored lives as long as it
    length, shape, dtype = 0, (), np.dtype(np.uint8)
    for block in blocks:
        _write(file, np.ascontiguousarray(block))
        length, shape, dtype = length + len(block), block.shape[1:], block.dtype
    return in_file(file, (length, *shape), dtype, view=view)


def _write(file: BinaryIO, block: np.ndarray) -> None:
    """Raises OSError with what can be done."""
    try:
        file.write(block.data)
        file.flush()
    except OSError as error:
        file.close()
        raise OSError(error.errno, f"{error.strerror}: TMPDIR names the folder, now {tempfile.gettempdir()}") from error


def bands(array: Rows) -> Iterator[np.ndarray]:
    """An array as it is; what is stored, a band of rows after the other."""
    if isinstance(array, np.ndarray):
        yield array
        return
    rows = max(1, BLOCK // max(1, count(array.shape[1:])))
    for start in range(0, len(array), rows):
        yield np.asarray(array[start : start + rows])


def by_bands(array: Rows, function: Callable[[np.ndarray], np.ndarray]) -> Rows:
    """What `function` makes of an array row by row; of what is stored, whenever rows of it are read."""
    if isinstance(array, np.ndarray):
        return function(array)
    first = function(np.asarray(array[:1]))
    shape = (len(array), *first.shape[1:])
    return Stored(lambda start, stop: function(np.asarray(array[start:stop])), shape, first.dtype)


def read_through(array: Rows) -> Rows:
    """The same array, of which all was read once: what cannot be read is said before anything hangs on it."""
    for _ in bands(array):
        pass
    return array


def some(array: Rows, most: int) -> np.ndarray:
    """An array whole; of what is stored, evenly spaced rows with about `most` numbers, at least one row."""
    if isinstance(array, np.ndarray):
        return array
    rows = min(len(array), max(1, most // max(1, count(array.shape[1:]))))
    chosen = np.linspace(0, len(array) - 1, rows).round().astype(int).tolist()
    return np.concatenate([np.asarray(array[row : row + 1]) for row in chosen])
