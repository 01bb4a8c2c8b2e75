"""Fields of a batch that are too large for memory: read, and made into inputs, a band of rows after the other.

Not concerned with what the numbers are, nor with the cross-attention that reads the bands (`core/streaming.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceivers.stored import BLOCK, Rows, Stored, count

TOKENS = 2**16  # of a band, at most, where it has several rows of patches


class Stacked:
    """Arrays (*s k) of which some are stored, or None, padded with `fill` at their ends to one (b *s k), of which rows
    of the first axis are read. `convert` makes float32 of a band.
    """

    def __init__(
        self,
        arrays: Sequence[Rows | None] | np.ndarray,
        convert: Callable[[np.ndarray], np.ndarray],
        k: int,
        fill: float = 0.0,
    ):
        self.arrays, self.convert, self.fill = arrays, convert, fill
        sizes = np.array([array.shape[:-1] for array in arrays if array is not None])
        self.shape = (len(arrays), *sizes.max(0).tolist(), k)

    def __len__(self) -> int:
        return len(self.arrays)

    def rows(self, start: int, stop: int) -> Float[Tensor, "b n *s k"]:
        """Rows of all arrays, as one in memory."""
        found = np.full((len(self), stop - start, *self.shape[2:]), self.fill, np.float32)
        for row, array in zip(found, self.arrays, strict=True):
            if array is not None and start < len(array):
                band = self.convert(np.asarray(array[start:stop]))
                row[tuple(slice(size) for size in band.shape[:-1])] = band
        return torch.from_numpy(found)


class Piece(NamedTuple):
    """So many elements of the inputs, and what makes them and their mask."""

    size: int
    make: Callable[[], tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]]


class Pieces:
    """Pieces side by side as the chunks of one array (b m channels), which `adapter`, a module, makes."""

    def __init__(self, pieces: Sequence[Piece], adapter: nn.Module, b: int, channels: int):
        self.pieces, self.adapter = pieces, adapter
        self.shape = (b, sum(piece.size for piece in pieces), channels)

    def __len__(self) -> int:
        return len(self.pieces)

    def chunk(self, index: int) -> tuple[Float[Tensor, "b s c"], Bool[Tensor, "b s"]]:
        """A piece, made anew at every call."""
        return self.pieces[index].make()


def any_stored(examples: Sequence[Any] | np.ndarray) -> bool:
    """Whether an example is in a file, so that a batch of them is `Stacked`."""
    return any(isinstance(example, Stored) for example in examples)


def is_stacked(part: Mapping[str, Any]) -> bool:
    """Whether a part of a batch is read by bands."""
    return any(isinstance(value, Stacked) for value in part.values())


def bands(shape: Sequence[int], patch: Sequence[int]) -> list[tuple[int, int, int]]:
    """An array (b *s k) in bands of whole patches along its first axis: of each the first row, the one after the last,
    and how many patches it has of one array. A band has about `BLOCK` numbers and `TOKENS` patches at most, but always
    one row of patches.
    """
    b, length, *others = shape
    tokens = count([-(-size // step) for size, step in zip(others[:-1], patch[1:], strict=True)])
    high = max(1, min(BLOCK // max(1, b * count(others) * patch[0]), TOKENS // max(1, b * tokens))) * patch[0]
    ends = [(start, min(start + high, length)) for start in range(0, length, high)]
    return [(start, stop, -(-(stop - start) // patch[0]) * tokens) for start, stop in ends]
